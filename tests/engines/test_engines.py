"""The contract of a fan-out, on a real cluster of each engine."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.helpers import MARKS, on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

pytestmark = MARKS


def test_results_in_order(source: Source, cluster: Cluster) -> None:
    """Items run in the cluster's workers, both of them, and their results come back in input order."""
    module = source("""
import os, time
from dataclasses import dataclass

@dataclass
class Result:
    value: int
    pid: int
    cluster: str | None

def helper(item, factor):
    return item * factor

@parallel_task(**OPTIONS)
def scale(item, factor):
    time.sleep(0.01)
    return Result(helper(item, factor), os.getpid(), os.environ.get("AIRFLOW_HARNESS_INSTANCE"))
""")
    results = module.scale(range(100), factor=3)
    assert [result.value for result in results] == [3 * item for item in range(100)]
    assert {type(result) for result in results} == {module.Result}
    assert len({result.pid for result in results}) == 2
    assert {result.cluster for result in results} == {cluster.marker}


@pytest.mark.parametrize("how", ["circle", "deep"])
def test_failure_that_pickles_badly(how: str, source: Source) -> None:
    """An exception that leads to itself, or comes from a deep recursion, arrives as itself: Dask loads tblib."""
    module = source("""
def deeper(depth):
    if depth:
        deeper(depth - 1)
    raise ValueError("at the end")

@parallel_task(item_retries=0, **OPTIONS)
def work(item, how):
    if how == "deep":
        deeper(500)
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first
""")
    with pytest.raises(ValueError, match="at the end" if how == "deep" else "first") as caught:
        module.work(range(4), how)
    assert type(caught.value) is ValueError
    if how == "deep":
        assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "deeper"
    else:
        assert str(caught.value.__cause__) == "second"


def test_failure_ends_the_run(source: Source, tmp_path: Path) -> None:
    """The first failure leaves as the item's own exception with a note, and items that run are stopped."""
    module = source("""
import time
from pathlib import Path

class OwnError(Exception):
    pass

@parallel_task(batch_size=1, **OPTIONS)
def work(item, folder):
    if item == 0:
        while not Path(folder, "began").exists():
            time.sleep(0.01)
        raise OwnError("no luck")
    Path(folder, "began").touch()
    for _ in range(3000):
        time.sleep(0.01)
    Path(folder, "went on").touch()
""")
    with pytest.raises(module.OwnError, match="no luck") as caught:
        module.work(range(2), folder=str(tmp_path))
    assert time.time() - (tmp_path / "began").stat().st_mtime < 25  # the start is the cluster's
    assert "Raised by item 0 (0) on try 1" in caught.value.__notes__[0]
    assert not (tmp_path / "went on").exists()


def test_per_worker(source: Source, tmp_path: Path) -> None:
    """A resource is entered once in each worker, and left when the run ends."""
    module = source("""
import os, time
from contextlib import contextmanager
from pathlib import Path

@contextmanager
def resource(folder):
    file = Path(folder, f"{os.getpid()}.entered")
    assert not file.exists()
    file.touch()
    yield os.getpid()
    Path(folder, f"{os.getpid()}.left").touch()

@parallel_task(per_worker={"held": resource}, **OPTIONS)
def work(item, folder, held):
    time.sleep(0.02)
    return held
""")
    pids = set(module.work(range(40), folder=str(tmp_path)))
    assert {file.name for file in tmp_path.iterdir() if file.suffix in {".entered", ".left"}} == {
        f"{pid}.{what}" for pid in pids for what in ("entered", "left")
    }


@on("dask")
def test_worker_with_several_threads(engine: str, source_of: Callable[[str], Any], tmp_path: Path) -> None:
    """However Dask's threads take turns, each resource is one thread's at a time, and all are left at the end."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=None) as cluster:
        module = source_of(f"""
import threading
from contextlib import contextmanager
from pathlib import Path

from airflow_joblib import parallel_task

@contextmanager
def resource(folder):
    file = Path(folder, f"{{threading.get_ident()}}.entered")
    file.touch(exist_ok=False)
    yield threading.get_ident()
    file.with_suffix(".left").touch()

@parallel_task(per_worker={{"held": resource}}, backend={engine!r}, n_jobs=4, batch_size=1,
               backend_options={{"address": {cluster.scheduler_address!r}}})
def work(item, folder, held):
    return held
""")
        began = time.monotonic()
        threads = set(module.work(range(200), folder=str(tmp_path)))
        assert time.monotonic() - began < 60
    entered = {file.stem for file in tmp_path.glob("*.entered")}
    assert entered == {file.stem for file in tmp_path.glob("*.left")}
    assert set(map(str, threads)) <= entered
    assert len(entered) <= 4


def test_slow_to_leave(source: Source, tmp_path: Path) -> None:
    """After a good run a resource may take its time to be left, longer than after a failed one."""
    module = source("""
import time
from contextlib import contextmanager
from pathlib import Path

@contextmanager
def resource(folder):
    yield
    time.sleep(4)
    Path(folder, "left").touch()

@parallel_task(per_worker={"held": resource}, **OPTIONS)
def work(item, folder, held):
    return item
""")
    assert module.work.override(n_jobs=1)(range(2), folder=str(tmp_path)) == [0, 1]
    assert (tmp_path / "left").exists()
