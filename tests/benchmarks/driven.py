"""Engines driven directly, each in its own best way, and ours on the same cluster.

Everything runs in one process. The engine stays connected, so that no direct way pays for that. Ours connects in each
call to Dask, and makes its workers there on Ray, which is in its seconds; on Spark it uses the session that is open.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.harness.clusters import Cluster

    Way = Callable[[Callable[..., Any], Sequence[Any], bytes | None], list[Any]]

__all__ = ["CONNECTED", "JOBS", "WHOLE", "functions", "ours"]

JOBS = 2
#: The way that makes its workers in each call, and ends them there, as ours does.
WHOLE = "pool made in the call"

#: In no module that a worker would look for: each engine sends these by value.
_SOURCE = """
import time

def wait_for_cpu(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return seconds

def length(item, data):
    return item + len(data)
"""


def functions() -> dict[str, Any]:
    """Return the functions that are measured."""
    made: dict[str, Any] = {"__name__": "measured_functions"}
    exec(_SOURCE, made)
    return made


def ours(engine: str, options: dict[str, Any]) -> Way:
    """Return what runs items by a parallel task."""
    from airflow_joblib import parallel_task

    def run(function: Callable[..., Any], items: Sequence[Any], data: bytes | None) -> list[Any]:
        task = parallel_task(n_jobs=JOBS, backend=engine, backend_options=options)(function)
        return task.map(items) if data is None else task.map(items, data=data)

    return run


def _pieces(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    size = max(1, -(-len(items) // count))
    return [items[start : start + size] for start in range(0, len(items), size)]


@contextmanager
def _dask(cluster: Cluster) -> Iterator[dict[str, Way]]:
    """Use ``Client.map`` over chunks, and ``Client.scatter``."""
    from distributed import Client, Security

    options = {**cluster.options}
    address = options.pop("address")
    with Client(address, security=Security(require_encryption=True, **options), set_as_default=False) as client:

        def run(function: Any, items: Sequence[Any], data: bytes | None, chunks: int) -> list[Any]:
            pieces = _pieces(items, chunks)
            if data is None:
                futures = client.map(lambda piece: [function(item) for item in piece], pieces, pure=False)
            else:
                (sent,) = client.scatter([data], broadcast=True, hash=False)
                each = lambda piece, given: [function(item, given) for item in piece]  # noqa: E731
                futures = client.map(each, pieces, given=sent, pure=False)
            return [value for piece in client.gather(futures) for value in piece]

        yield {f"{chunks} chunks": functools.partial(run, chunks=chunks) for chunks in (2, 16, 64)}


@contextmanager
def _ray(cluster: Cluster) -> Iterator[dict[str, Way]]:
    """Use ``Pool.map`` of ``ray.util.multiprocessing``, and ``ray.put``."""
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.folder / "token")})
    import ray  # which reads the environment as it is imported
    from ray.util.multiprocessing import Pool

    try:
        ray.init(address=cluster.options["address"], log_to_driver=False, logging_level="warning")
        pools: list[Any] = []

        def run(function: Any, items: Sequence[Any], data: bytes | None) -> list[Any]:
            if not pools:  # ours makes its own, for which there would be no CPU left
                pools.append(Pool(JOBS))
            if data is None:
                return pools[0].map(function, items)  # type: ignore[no-any-return]
            reference = ray.put(data)
            return pools[0].map(lambda item: function(item, ray.get(reference)), items)  # type: ignore[no-any-return]

        def end() -> None:
            while pools:
                pool = pools.pop()
                pool.terminate()
                pool.join()

        def run_whole(function: Any, items: Sequence[Any], data: bytes | None) -> list[Any]:
            try:
                return run(function, items, data)
            finally:
                end()

        run.end = end  # type: ignore[attr-defined]
        yield {WHOLE: run_whole, "pool kept": run}
        end()
        ray.shutdown()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@contextmanager
def _spark(cluster: Cluster) -> Iterator[dict[str, Way]]:
    """Use ``parallelize(...).mapPartitions(...).collect()``, and a broadcast; ours takes the session as it is.

    It has the options of Java that ours gives a session that it starts itself.
    """
    from pyspark.sql import SparkSession

    from airflow_joblib.clusters.spark.engine import JAVA_OPTIONS

    secret = {"spark.authenticate": "true", "spark.authenticate.secret": cluster.options["secret"]}
    builder = SparkSession.builder.master(cluster.options["address"]).appName("driven directly")
    for name, value in {**cluster.options["conf"], **secret, **JAVA_OPTIONS, "spark.ui.enabled": "false"}.items():
        builder = builder.config(name, value)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = builder.getOrCreate()
    try:
        context = session.sparkContext
        context.setLogLevel("OFF")  # it complains of the end of its own connections

        def run(function: Any, items: Sequence[Any], data: bytes | None, parts: int) -> list[Any]:
            cut = context.parallelize(items, parts)
            if data is None:
                return cut.mapPartitions(lambda part: [function(item) for item in part]).collect()  # type: ignore[no-any-return]
            sent = context.broadcast(data)
            try:
                return cut.mapPartitions(lambda part: [function(item, sent.value) for item in part]).collect()  # type: ignore[no-any-return]
            finally:
                sent.destroy()

        yield {f"{parts} partitions": functools.partial(run, parts=parts) for parts in (2, 8, 32)}
    finally:
        session.stop()


#: Engine to the context manager that connects to a cluster, and gives the ways to drive it directly, by variant.
CONNECTED = {"dask": _dask, "ray": _ray, "spark": _spark}
