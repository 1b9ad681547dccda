"""What all items share: a constant of the DAG file, a large array, a large dict; and what sending it must cost."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from tests.benchmarks import contenders
from tests.benchmarks.clock import timed
from tests.benchmarks.memory import MB, peak_of_all
from tests.benchmarks.work import block_sum, corner, look_up, no_op, row_and_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from tests.benchmarks.clock import Sample
    from tests.benchmarks.contenders import Pool

__all__ = ["array", "constant", "frame_and_table", "frames", "pickle_copy_two_loads", "send_constant", "table"]

#: Entries of a table that takes 20 MB when pickled, and of one of 100 MB of small objects.
CONSTANT, TABLE = 700_000, 400_000

_DAG_FILE = """
TABLE = {{f"key {{number}}": (number, number / 7) for number in range({size})}}

def find(item):
    return TABLE[f"key {{item % len(TABLE)}}"][1]
"""


def _table(size: int) -> dict[str, tuple[int, float]]:
    return {f"key {number}": (number, number / 7) for number in range(size)}


def _dag_file(size: int) -> Callable[[int], float]:
    """Load a DAG file as an executor does, under a name that no worker could import."""
    name = f"unusual_prefix_0123456789abcdef_constant_{size}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constant.py"
        path.write_text(_DAG_FILE.format(size=size))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    find: Callable[[int], float] = module.find
    return find


def constant(pool: Pool, size: int, items: Sequence[int], jobs: int, times: int = 1) -> list[Sample]:
    """Time a function of a DAG file that has a table of so many entries as a constant; of few items, *times* that."""
    find = _dag_file(size)
    if pool is contenders.joblib_pool:  # what somebody who writes it by hand has to do, lest it fails
        cloudpickle.register_pickle_by_value(sys.modules[find.__module__])
    return _whole(pool, find, items, jobs, times)


def _whole(pool: Pool, function: Callable[..., Any], items: Sequence[int], jobs: int, times: int = 1) -> list[Sample]:
    """Time the second call of two, the first with no-op items: modules are loaded, and workers there where kept."""
    with pool(jobs) as run:
        run(no_op, range(jobs))
        seconds, _ = timed(run, function, items)
    return [{"seconds": times * seconds}]


def send_constant(size: int, jobs: int) -> list[Sample]:
    """Time one pickle, and for each worker one send and one load."""
    constant = _dag_file(size).__globals__["TABLE"]
    pipes = [multiprocessing.Pipe() for _ in range(jobs)]
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_load, args=(theirs,)) for _, theirs in pipes]
    for worker in workers:
        worker.start()
    seconds, _ = timed(_send, constant, [mine for mine, _ in pipes])
    for worker in workers:
        worker.join()
    return [{"seconds": seconds}]


def _send(value: object, connections: Sequence[Connection[Any, Any]]) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    for connection in connections:
        connection.send_bytes(data)
    for connection in connections:
        connection.recv_bytes()


def _load(connection: Connection[Any, Any]) -> None:
    _kept = pickle.loads(connection.recv_bytes())
    connection.send_bytes(b"")


def array(pool: Pool, megabytes: int, items: Sequence[int], jobs: int, *, given: bool = True) -> list[Sample]:
    """Time, and in a run of its own weigh, what sums the blocks of a shared array, or of none."""
    import numpy as np

    shared = np.random.default_rng(0).random(megabytes * MB // 8) if given else None
    function = functools.partial(block_sum, array=shared, blocks=len(items))
    return _weighed(pool, function, items, jobs)


def table(pool: Pool, size: int, items: Sequence[int], jobs: int, times: int = 1) -> list[Sample]:
    """Time what reads a shared dict of so many entries; of few items, *times* that."""
    return _whole(pool, functools.partial(look_up, table=_table(size)), items, jobs, times)


def frame_and_table(pool: Pool, megabytes: int, entries: int, jobs: int) -> list[Sample]:
    """Time what reads a shared frame and a shared dict."""
    (frame,) = _frames(1, megabytes)
    return _whole(pool, functools.partial(row_and_entry, frame=frame, table=_table(entries)), range(jobs), jobs)


def frames(pool: Pool, count: int, megabytes: int, jobs: int) -> list[Sample]:
    """Time so many frames as items, of each of which one value is read."""
    return _whole(pool, corner, _frames(count, megabytes), jobs)


def _frames(count: int, megabytes: int) -> list[Any]:
    import numpy as np
    import pandas as pd

    made = np.random.default_rng(0).random((count, megabytes * MB // 64, 8))
    return [pd.DataFrame(values, columns=list("abcdefgh"), copy=True) for values in made]


def _weighed(pool: Pool, function: Callable[..., Any], items: Sequence[int], jobs: int) -> list[Sample]:
    with pool(jobs) as run:
        run(no_op, range(jobs))
        with peak_of_all() as peak:
            run(function, items)
        seconds, _ = timed(run, function, items)
    return [{"seconds": seconds, "extra MB": peak.extra / MB}]


def pickle_copy_two_loads(size: int) -> list[Sample]:
    """Time the least that sending a dict once to each of two workers takes."""
    shared = _table(size)
    return [{"seconds": timed(_pickle_copy_two_loads, shared)[0]}]


def _pickle_copy_two_loads(shared: object) -> None:
    data = pickle.dumps(shared, pickle.HIGHEST_PROTOCOL)
    copy = bytearray(data)
    _kept = [pickle.loads(copy), pickle.loads(copy)]
