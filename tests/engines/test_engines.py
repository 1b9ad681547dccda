"""The contract of a fan-out, on a real cluster of each engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import TooManyFailuresError
from airflow_joblib.fan_out.resume import RunCheckpoint
from tests.engines.helpers import MARKS

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


def test_lazy_items(source: Source) -> None:
    """Items of a generator are drawn as they are needed."""
    module = source("""
@parallel_task(**OPTIONS)
def double(item):
    return item * 2
""")
    assert module.double(iter(range(50))) == [2 * item for item in range(50)]


@pytest.mark.parametrize(("inner", "n_jobs"), [(1, 2), (2, 2), (2, 1)])
def test_item_that_calls_a_fan_out(source: Source, inner: int, n_jobs: int) -> None:
    """A fan-out that an item calls runs in the item's worker, and waits for nothing that the outer one holds."""
    module = source("""
import os, threading

@parallel_task(**OPTIONS)
def double(item):
    return item * 2, os.getpid(), threading.get_ident()

@parallel_task(batch_size=1, **OPTIONS)
def work(item, inner, n_jobs):
    given = double.override(n_jobs=n_jobs)(range(item, item + inner))
    assert {each[1:] for each in given} == {(os.getpid(), threading.get_ident())}
    return [each[0] for each in given]
""")
    wanted = [[2 * item for item in range(start, start + inner)] for start in range(4)]
    assert module.work(range(4), inner=inner, n_jobs=n_jobs) == wanted


def test_nothing_left_of_an_earlier_try(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that failed after its last item has nothing to run when it is tried again."""
    module = source("""
import os

@parallel_task(**OPTIONS)
def double(item):
    return item * 2, os.getpid()
""")
    double = module.double.override(checkpoint=str(tmp_path))
    monkeypatch.setattr(RunCheckpoint, "clear", bool)  # as Airflow does it once the task has ended well
    first = double(range(6))
    assert [value for value, _ in first] == [2 * item for item in range(6)]
    assert double(range(6)) == first


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


def test_retries_and_tolerated_failures(source: Source, tmp_path: Path) -> None:
    """Items are tried again, and those that fail for good within the limit leave None."""
    module = source("""
from pathlib import Path

@parallel_task(item_retries=1, item_retry_delay=0.1, max_failures=1, **OPTIONS)
def work(item, folder):
    if item == 3:
        raise ValueError("always")
    tried = Path(folder, str(item))
    if not tried.exists():
        tried.touch()
        raise OSError("the first time")
    return item
""")
    assert module.work(range(6), folder=str(tmp_path)) == [0, 1, 2, None, 4, 5]
    with pytest.raises(TooManyFailuresError):
        module.work.override(max_failures=0.01, item_retries=0)([3, 3], folder=str(tmp_path))


def test_timeout(source: Source) -> None:
    """An item's limit of time ends its Python code."""
    module = source("""
import time

@parallel_task(item_timeout=0.5, **OPTIONS)
def work(item):
    for _ in range(3000 if item else 1):
        time.sleep(0.01)
    return item
""")
    with pytest.raises(TimeoutError):
        module.work(range(2))


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


def test_shared_argument_once(source: Source) -> None:
    """A large shared argument is loaded once in each worker, however many chunks there are."""
    module = source("""
import os

class Table:
    loaded = 0

    def __init__(self):
        self.data = bytes(8_000_000)

    def __setstate__(self, state):
        self.__dict__.update(state)
        type(self).loaded += 1

@parallel_task(batch_size=1, **OPTIONS)
def work(item, table):
    return os.getpid(), type(table).loaded, len(table.data)
""")
    results = module.work(range(30), table=module.Table())
    assert {(loaded, size) for _, loaded, size in results} == {(1, 8_000_000)}
