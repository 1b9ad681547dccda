"""What becomes of a run on a cluster when something of it dies, and what is left of it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ClusterError, WorkerLostError
from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import MARKS, SECRET, SLOW, While, on, wait_until, workers_of
from tests.harness.clusters import ENGINES
from tests.harness.processes import kill_all, marked
from tests.harness.settings import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

pytestmark = MARKS
engines = on("dask", "ray")

#: The process without which there is no cluster.
HEADS = {"dask": "scheduler", "ray": "head"}


def states_of(engine: str, cluster: Cluster) -> list[dict[str, list[str]]]:
    """Return what the cluster's workers hold of runs."""
    with connected(engine, cluster.options, 2) as connection:
        return _states_on_ray() if engine == "ray" else _states_on_dask(vars(connection)["_client"])


def _states_on_dask(client: Any) -> list[dict[str, list[str]]]:
    def state(dask_worker: Any) -> dict[str, list[str]]:
        from airflow_joblib.clusters import worker
        from airflow_joblib.clusters.dask import worker as ours

        return {
            "data": [str(key) for key in dask_worker.data],
            "runs": [*worker._runs, *ours._chunks, *ours._waiting],
            "threads": [thread.name for thread in threading.enumerate() if "airflow-joblib" in thread.name],
            "handlers": [name for name in dask_worker.handlers if "airflow" in name],
        }

    return list(client.run(state).values())


def _states_on_ray() -> list[dict[str, list[str]]]:
    """Return the CPUs that runs hold, whose processes end with them, and the mailboxes."""
    import ray

    held = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)
    mailboxes = [str(name) for name in ray.util.list_named_actors(all_namespaces=True)]
    return [{"CPUs": ["held"] * int(held), "mailboxes": mailboxes}]


def kill_tree(pid: int) -> None:
    """Kill a process and all below it, as a machine that goes off does."""
    process = psutil.Process(pid)
    kill_all([process, *process.children(recursive=True)])


@engines
@pytest.mark.parametrize("killed", [1, 2])
def test_worker_killed(source: Source, tmp_path: Path, killed: int) -> None:
    """Items of a killed worker run again, with what all share, even where no worker is left that has had it."""
    module = source(f"SECONDS = 1\n{SLOW}")

    def kill(pids: list[int]) -> None:
        for pid in pids[:killed]:
            os.kill(pid, signal.SIGKILL)

    with While(tmp_path, kill):
        results = module.work(range(8), folder=str(tmp_path), secret=SECRET)
    assert [item for item, _ in results] == list(range(8))
    assert len(workers_of(tmp_path)) > killed


@engines
@pytest.mark.parametrize(
    ("killers", "message"),
    [((3,), r"Item 3 \(3\) ended its worker process for the second time"), ((2, 3), "cluster ended.* 3 to 3")],
)
def test_items_that_kill(source: Source, killers: tuple[int, ...], message: str) -> None:
    """An item that ends every worker has failed; where it may have been one of several, the run says which."""
    module = source("""
import os, signal, time

@parallel_task(batch_size=1, **OPTIONS)
def work(item, killers):
    if item in killers and os.environ["AIRFLOW_HARNESS_INSTANCE"]:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    return item
""")
    with pytest.raises(WorkerLostError, match=message):
        module.work(range(4), killers=killers)


@engines
def test_head_killed(engine: str, source_on: Callable[[Cluster, str], Any], tmp_path: Path) -> None:
    """The run fails within seconds, and says what is lost."""
    items = tmp_path / "items"
    items.mkdir()
    with ENGINES[engine](tmp_path / "cluster") as cluster:
        module = source_on(cluster, f"SECONDS = 60\n{SLOW}")
        lost = pytest.raises(ClusterError, match=rf"The {engine} cluster at .* is lost")
        with While(items, lambda _: kill_tree(cluster.pid(HEADS[engine]))) as killed, lost:
            module.work(range(8), folder=str(items), secret=SECRET)
        print(f"failed after {time.monotonic() - killed.at:.1f} s")
        assert time.monotonic() - killed.at < 20
        if engine == "ray":  # whose workers go on, with nothing to do, until their node has given up after a minute
            wait_until(lambda: len(list(items.glob("*.over"))) == 2, 30)
            print(f"items interrupted after {time.monotonic() - killed.at:.1f} s")
        else:
            wait_until(lambda: not any(map(psutil.pid_exists, workers_of(items))), 30)
            print(f"workers gone after {time.monotonic() - killed.at:.1f} s")
    assert not list(items.glob("*.done"))


@pytest.mark.nightly  # Ray's own doing, for the most part; and that items of a lost worker run again is tested above
@on("ray")
def test_node_killed(engine: str, source_on: Callable[[Cluster, str], Any], tmp_path: Path) -> None:
    """The items of a node that is gone run on what is left of the cluster."""
    items = tmp_path / "items"
    items.mkdir()
    with ENGINES[engine](tmp_path / "cluster") as cluster:
        module = source_on(cluster, f"SECONDS = 2\n{SLOW}")
        with While(items, lambda _: kill_tree(cluster.pid("first"))):
            results = module.work(range(8), folder=str(items), secret=SECRET)
    assert [item for item, _ in results] == list(range(8))
    assert len(workers_of(items)) > 2


@engines
def test_task_killed(
    engine: str,
    cluster: Cluster,
    task: Callable[[Cluster | None], subprocess.Popen[bytes]],
    source: Source,
    tmp_path: Path,
) -> None:
    """Items that run on the cluster are interrupted, what the run had there is gone, and others find it free."""
    process = task(cluster)
    pids = workers_of(tmp_path / "items")
    assert all(any(state.values()) for state in states_of(engine, cluster))
    process.kill()
    began = time.monotonic()
    other = source("@parallel_task(batch_size=1, **OPTIONS)\ndef work(item):\n    return item * 2\n")
    assert other.work(range(10)) == [2 * item for item in range(10)]
    print(f"others had their results after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < 30
    remaining = set() if engine == "ray" else pids  # whose workers are of one run each
    wait_until(lambda: {pid for pid in pids if psutil.pid_exists(pid)} == remaining, 10)
    wait_until(lambda: not any(any(state.values()) for state in states_of(engine, cluster)), 10)
    assert not list((tmp_path / "items").glob("*.done"))


def test_local_cluster_of_a_killed_task(
    engine: str, task: Callable[[Cluster | None], subprocess.Popen[bytes]], tmp_path: Path, temporary: Path
) -> None:
    """A cluster that the run has started is gone with its task, and so are its files."""
    process = task(None)
    offspring = psutil.Process(process.pid).children(recursive=True)
    assert workers_of(tmp_path / "items") <= {child.pid for child in offspring}
    process.kill()
    process.wait(5)
    _, alive = psutil.wait_procs(offspring, timeout=10)
    assert not alive
    assert not list((tmp_path / "items").glob("*.done"))
    wait_until(lambda: not list(temporary.iterdir()), 10)


#: A process that starts a local cluster, having imported what that takes.
STARTS = """
import airflow_joblib.clusters.NAME.engine
from airflow_joblib.clusters.pool import connected

print("starts", flush=True)
with connected("NAME", {}, 1):
    pass
"""


@engines
@pytest.mark.parametrize("seconds", [0.3, pytest.param(0.6, marks=pytest.mark.nightly)])
def test_interrupted_while_a_local_cluster_starts(engine: str, temporary: Path, seconds: float) -> None:
    """Nothing of it stays: no process, no file."""
    token = secrets.token_hex(8)
    environment = {**os.environ, "TMPDIR": str(temporary), MARKER: token, "SPT_NOENV": "1"}
    command = [sys.executable, "-c", STARTS.replace("NAME", engine)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"starts\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    wait_until(lambda: not marked(token) and not list(temporary.iterdir()), 15)
