"""Errors of parallel tasks can be collected in place of being raised, and are raised where nobody collects."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from airflow_joblib import InvalidOptionError, NotPicklableError, parallel_task
from airflow_joblib.options import error_collector


class Taken(error_collector.ErrorCollector):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.options: list[str] = []
        self.faults: list[Any] = []
        self.all: list[Any] = []
        self.tasks: list[Any] = []

    def option(self, name: str, error: InvalidOptionError) -> None:
        assert name in str(error)
        self.options.append(name)

    def fault(self, parallel: Any, error: Exception) -> None:
        self.faults.append((parallel, error))

    def decorated(self, parallel: Any) -> None:
        self.all.append(parallel)

    def task(self, parallel: Any) -> None:
        self.tasks.append(parallel)


def test_every_wrong_option_is_collected() -> None:
    """All wrong options of a decorator are collected, and the others hold."""
    taken = Taken()
    with error_collector.collecting(taken):

        @parallel_task(n_jobs=0, item_retrys=1, item_retries=2, batch_size=-1, retries=3)
        def double(item: int) -> int:
            return 2 * item

        other = double.override(max_failures=-1, n_jobs=3)
    assert taken.options == ["n_jobs", "item_retrys", "batch_size", "max_failures"]
    assert (double.options.n_jobs, double.options.item_retries, double.task_options) == (None, 2, {"retries": 3})
    assert other.options.n_jobs == 3
    assert taken.all == [double, other]
    assert double.map([1, 2]) == [2, 4]


def test_raised_where_nobody_collects() -> None:
    """Without a collector, and after one, the first error is raised."""
    with error_collector.collecting(Taken()):
        pass
    with pytest.raises(InvalidOptionError, match="n_jobs"):
        parallel_task(n_jobs=0, batch_size=-1)
    with pytest.raises(NotPicklableError), error_collector.errors_collected(None):
        _guarded().check()


def test_faults_are_collected() -> None:
    """What keeps a task from its workers is collected with the task, and the block is left."""
    taken = Taken()
    task = _guarded()
    with error_collector.collecting(taken), error_collector.errors_collected(task):
        task.check()
    ((parallel, error),) = taken.faults
    assert parallel is task
    assert "closure 'lock'" in str(error)


def test_other_errors_are_raised() -> None:
    """What is no error of this library is nobody's to collect."""
    with error_collector.collecting(Taken()), pytest.raises(KeyError), error_collector.errors_collected(None):
        raise KeyError


def _guarded() -> Any:
    lock = threading.Lock()

    @parallel_task
    def guarded(item: int) -> bool:
        return lock.locked()

    return guarded
