"""The contract of a fan-out, one run after another, where a session with the cluster is open already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import TooManyFailuresError
from airflow_joblib.fan_out.resume import RunCheckpoint
from tests.engines.helpers import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Source = Callable[[str], Any]

pytestmark = [*MARKS, pytest.mark.usefixtures("session")]


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
    monkeypatch.setattr(RunCheckpoint, "end", lambda *_: None)  # as Airflow does it once the task has ended well
    first = double(range(6))
    assert [value for value, _ in first] == [2 * item for item in range(6)]
    assert double(range(6)) == first


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


def test_labels(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """A label names items in the log, notes, failures and the record, and need not travel."""
    module = source("""
import threading
LOCK = threading.Lock()

def label(item):
    with LOCK:
        return f"order {item}"

@parallel_task(label=label, batch_size=1, item_retries=1, item_retry_delay=0.01, max_failures=1, **OPTIONS)
def work(item):
    if item == 3:
        raise ValueError("always")
    return item

@parallel_task(**OPTIONS)
def other(item):
    return work.function(item)
""")
    run = module.work.run(range(6))
    assert run.results == [0, 1, 2, None, 4, 5]
    assert [failure["item"] for failure in run.failures] == ["order 3"]
    (record,) = run.record["runs"]
    assert {each["label"] for each in record["slowest"]} == {f"order {item}" for item in range(6)}
    assert any("work: item 3 (order 3) failed for good" in message for message in caplog.messages)
    with pytest.raises(ValueError, match="always") as caught:
        module.work.override(max_failures=0, item_retries=0)([3, 4])
    assert "Raised by item 0 (order 3) on try 1" in caught.value.__notes__[0]
    assert module.other([1, 2]) == [1, 2]


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


def test_one_worker(source: Source) -> None:
    """One item, or one worker, is no reason to run it in the task's process."""
    module = source("""
import os

@parallel_task(**OPTIONS)
def work(item):
    return item, os.getpid()
""")
    (only,) = module.work([7])
    assert only[1] != os.getpid()
    assert os.getpid() not in {pid for _, pid in module.work.override(n_jobs=1)(range(5))}


def test_nothing_of_a_run_stays(source: Source) -> None:
    """After a run its workers have forgotten it: the next one finds itself alone."""
    module = source("""
import time

@parallel_task(**OPTIONS)
def runs(item):
    from airflow_joblib.clusters import worker as remote
    time.sleep(0.02)
    return len(remote._runs)
""")
    for _ in range(2):
        assert set(module.runs(range(20))) == {1}
