"""What becomes of a run on Spark when something of it dies, and what is left of it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ClusterError, WorkerLostError
from tests.engines.helpers import MARKS, SECRET, SLOW, While, on, wait_until, workers_of
from tests.harness.clusters import spark_cluster

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

pytestmark = [*MARKS, on("spark")]

KILLS = """
import os, signal, time
from pathlib import Path

@parallel_task(batch_size=1, **OPTIONS)
def work(item, killers, folder):
    Path(folder, f"{item}.{os.getpid()}").touch()
    if item in killers and os.environ["AIRFLOW_HARNESS_INSTANCE"]:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return item
"""


def executor_of(pid: int) -> psutil.Process:
    """Return the Java process that a Python worker is of; between them is the one that forks."""
    (_, executor, *_) = psutil.Process(pid).parents()
    assert "CoarseGrainedExecutorBackend" in " ".join(executor.cmdline())
    return executor


def runs_of(folder: Path) -> list[int]:
    """Return each item as often as it was begun."""
    return sorted(int(file.stem) for file in folder.iterdir() if file.suffix[1:].isdigit())


@pytest.mark.parametrize("what", ["worker", "executor"])
def test_worker_killed(source: Source, tmp_path: Path, what: str) -> None:
    """The item of a killed worker runs again, and none of the others does."""
    module = source(f"SECONDS = 1\n{SLOW}")

    def kill(pids: list[int]) -> None:
        os.kill(pids[0] if what == "worker" else executor_of(pids[0]).pid, signal.SIGKILL)

    with While(tmp_path, kill):
        results = module.work(range(8), folder=str(tmp_path), secret=SECRET)
    assert [item for item, _ in results] == list(range(8))
    assert len(runs_of(tmp_path)) == 9


@pytest.mark.parametrize("killers", [pytest.param((3,), marks=pytest.mark.nightly), (2, 3)])
def test_items_that_kill(source: Source, tmp_path: Path, killers: tuple[int, ...]) -> None:
    """An item that ends its worker twice has failed, whatever ran beside it; Spark itself doesn't run it again."""
    module = source(KILLS)
    with pytest.raises(WorkerLostError, match=r"Item [23] \([23]\) ended its worker process for the second time"):
        module.work(range(4), killers=killers, folder=str(tmp_path))
    assert max(runs_of(tmp_path).count(item) for item in killers) == 2


def test_items_that_kill_are_tolerated(source: Source, tmp_path: Path) -> None:
    """With a limit of failures the run goes on without them."""
    work = source(KILLS).work.override(max_failures=1)
    assert work(range(6), killers=(3,), folder=str(tmp_path)) == [0, 1, 2, None, 4, 5]
    assert runs_of(tmp_path) == [0, 1, 2, 3, 3, 4, 5]


def test_chunk_with_an_item_that_kills(source: Source, tmp_path: Path) -> None:
    """Of a chunk whose worker ended the items run in ever smaller parts, which shows the one that ends it."""
    work = source(KILLS).work.override(batch_size=12, max_failures=1)
    results = work(range(24), killers=(3,), folder=str(tmp_path))
    assert [item for item, result in enumerate(results) if result != item] == [3]
    assert runs_of(tmp_path).count(3) == 4  # in its chunk, in an eighth of that, and twice alone


@pytest.mark.nightly  # Spark's own doing, for the most part; that an executor's items run again is tested above
def test_worker_and_master_go_away(source_on: Callable[[Cluster, str], Any], tmp_path: Path) -> None:
    """The run goes on with the executors that are left."""
    items = tmp_path / "items"
    items.mkdir()
    with spark_cluster(tmp_path / "cluster") as cluster:
        module = source_on(cluster, f"SECONDS = 2\n{SLOW}")

        def kill(_: list[int]) -> None:
            for name in ("first", "master"):
                os.kill(cluster.pid(name), signal.SIGKILL)

        with While(items, kill):
            results = module.work(range(6), folder=str(items), secret=SECRET)
    assert [item for item, _ in results] == list(range(6))


def test_all_workers_go_away(source_on: Callable[[Cluster, str], Any], tmp_path: Path) -> None:
    """Without any executor the run fails once it has waited for one, and says so."""
    items = tmp_path / "items"
    items.mkdir()
    with spark_cluster(tmp_path / "cluster") as cluster:
        cluster.options["timeout"] = 5
        module = source_on(cluster, f"SECONDS = 60\n{SLOW}")

        def kill(_: list[int]) -> None:
            for name in ("first", "second"):
                os.kill(cluster.pid(name), signal.SIGKILL)

        with While(items, kill) as killed, pytest.raises(ClusterError, match="no executor has been there for"):
            module.work(range(6), folder=str(items), secret=SECRET)
        print(f"failed after {time.monotonic() - killed.at:.1f} s")
        assert time.monotonic() - killed.at < 60
    assert not list(items.glob("*.done"))


def test_driver_killed(source: Source, tmp_path: Path) -> None:
    """The run fails within seconds, and its workers end."""
    module = source(f"SECONDS = 60\n{SLOW}")

    def kill(_: list[int]) -> None:
        (driver,) = [child for child in psutil.Process().children() if "SparkSubmit" in " ".join(child.cmdline())]
        driver.kill()

    with (
        While(tmp_path, kill) as killed,
        pytest.raises(ClusterError, match=r"lost.* driver, a Java process, has ended"),
    ):
        module.work(range(6), folder=str(tmp_path), secret=SECRET)
    assert time.monotonic() - killed.at < 20
    wait_until(lambda: not any(map(psutil.pid_exists, workers_of(tmp_path))), 30)
    assert not list(tmp_path.glob("*.done"))


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_task_killed(
    cluster: Cluster,
    task: Callable[[Cluster | None], subprocess.Popen[bytes]],
    source: Source,
    tmp_path: Path,
    temporary: Path,
    number: int,
) -> None:
    """Items are interrupted, all processes of the run end, its files are gone, and others find the cluster free."""
    process = task(cluster)
    pids = workers_of(tmp_path / "items")
    gone = [psutil.Process(pid) for pid in pids] + [executor_of(pid) for pid in pids]
    gone += psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait(5)
    began = time.monotonic()
    _, alive = psutil.wait_procs(gone, timeout=20)
    print(f"all gone after {time.monotonic() - began:.1f} s")
    assert not alive
    other = source("@parallel_task(batch_size=1, **OPTIONS)\ndef work(item):\n    return item * 2\n")
    assert other.work(range(10)) == [2 * item for item in range(10)]
    assert not list((tmp_path / "items").glob("*.done"))
    assert not list(temporary.iterdir())
