"""What type checkers make of the decorator: read by ``mypy --strict`` and pyright, run only for its imports."""

from __future__ import annotations

import inspect
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type

from airflow_joblib import (
    FailItem,
    NotPicklableError,
    ParallelTask,
    ParallelTaskError,
    RetryItem,
    Run,
    join,
    parallel_task,
    split,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import ModuleType

    from airflow.sdk import XComArg

    from airflow_joblib.testing import TaskRun


@parallel_task
def bare(item: int) -> str:
    return str(item)


@parallel_task()
def empty(item: int) -> str:
    return str(item)


@parallel_task(n_jobs=4, backend="loky", batch_size="auto", retries=2, pool="cpu")
def called(path: str, width: int = 200, *, height: int = 100) -> bytes:
    return bytes(width * height)


@parallel_task
async def bare_async(item: int) -> str:
    return str(item)


@parallel_task(n_jobs=2, concurrency=100)
async def called_async(item: int, width: int = 200) -> bytes:
    return bytes(width)


@parallel_task(n_jobs=2, per_worker={"conn": lambda: None})
async def async_with_resource(item: int, conn: None = None) -> bytes:
    return bytes(item)


@parallel_task(over="name", n_jobs=2)
def over(folder: str, name: str) -> int:
    return len(folder + name)


@parallel_task(over=("record_id", "value"), n_jobs=2)
def spread(record_id: int, value: str, unit: str = "mm") -> bytes:
    return f"{record_id}{value}{unit}".encode()


@parallel_task(
    per_worker={"conn": lambda: None},
    backend_options={"inner_max_num_threads": 1},
    item_retries=0,
    item_retry_delay=timedelta(seconds=1),
    item_retry_on=(OSError, LookupError),
    item_timeout=None,
    max_failures=0,
    fail_fast=False,
    checkpoint=False,
    rate_limit="100/min",
    label=str,
    execution_timeout=timedelta(minutes=5),
)
def with_resource(item: int, conn: None = None) -> dict[str, int]:
    return {"item": item}


class Shop:
    @parallel_task
    def price(self, item: int) -> float:
        return float(item)


def calls(upstream: XComArg, numbers: Iterator[int]) -> None:
    """A call gives a list of results; with a task upstream, what stands for it while a DAG is being defined."""
    assert_type(bare([1, 2]), list[str])
    assert_type(bare(numbers), list[str])
    assert_type(bare_async([1, 2]), list[str])
    assert_type(called_async.map([1, 2], width=3), list[bytes])
    assert_type(async_with_resource([1, 2]), list[bytes])
    assert_type(empty(range(3)), list[str])
    assert_type(called(["a"], width=3, height=4), list[bytes])
    assert_type(called(["a"], 3), list[bytes])
    assert_type(called(upstream, width=3), "XComArg")
    assert_type(called.map(["a"], width=3), list[bytes])
    assert_type(called.run(["a"], width=3), Run[bytes])
    assert_type(called.run(["a"]).results, list[bytes])
    assert_type(called.run(["a"]).failures, list[dict[str, Any]])
    record: Mapping[str, Any] = called.run(["a"]).record
    del record
    assert_type(over("folder", ["a", "b"]), list[int])
    assert_type(with_resource([1]), list[dict[str, int]])
    assert_type(spread([(1, "a")], unit="m"), list[bytes])
    assert_type(spread(items=[(1, "a")]), list[bytes])
    assert_type(spread(upstream), "XComArg")
    assert_type(spread.run(items=[{"record_id": 1, "value": "a"}]).results, list[bytes])
    assert_type(spread.over, tuple[str, ...])


def functions() -> None:
    """The plain function keeps its own types."""
    assert_type(bare.function(1), str)
    assert_type(called.function("a", 3, height=4), bytes)
    assert_type(called.__wrapped__("a"), bytes)


def objects() -> None:
    """The object's own members."""
    assert_type(called.override(n_jobs=2).map(["a"]), list[bytes])
    assert_type(called.item, str)
    assert_type(called.__name__, str)
    assert_type(called.uses_processes(), bool)
    assert_type(called.__signature__, inspect.Signature)
    task: ParallelTask[int, [], str] = bare
    assert_type(task.task_options, dict[str, Any])


def mapped(chunks: XComArg) -> None:
    """Mapping gives what stands for the mapped task."""
    assert_type(called.expand(path=chunks), "XComArg")
    assert_type(called.expand_kwargs(chunks), "XComArg")
    called.partial(width=3).expand(path=chunks)
    spread.partial(unit="m").expand(items=chunks)


def chunks(upstream: XComArg) -> None:
    """Cutting and joining keep the items' type; with a task upstream they give what stands for a task."""
    assert_type(split([1, 2], into=2), list[list[int]])
    assert_type(split(range(3), size=2), list[list[int]])
    assert_type(split(upstream, into=2, task_id="cut"), "XComArg")
    assert_type(split(upstream, size=2), "XComArg")
    assert_type(join([["a"], ["b"]]), list[str])
    assert_type(join(called.expand(path=split(upstream, into=2))), "XComArg")


def errors(error: NotPicklableError) -> None:
    """Errors keep their data typed."""
    assert_type(error.path, str)
    assert_type(error.culprit_type, str)
    assert_type(RetryItem("busy", after=30).after, float | None)
    RetryItem(after=timedelta(minutes=1))
    own: ParallelTaskError = FailItem("gone")
    del own
    base: ParallelTaskError = error
    builtin: TypeError = error
    del base, builtin


def refused() -> None:
    """What a type checker must refuse: mypy reports an ignore that is not needed."""
    called.run([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    called(["a"], width="wide")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    called([1, 2])  # type: ignore[list-item]  # pyright: ignore[reportCallIssue, reportArgumentType]
    called(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    called.map(["a"], depth=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    called.function(["a"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    split([1, 2])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    parallel_task(n_jobs="many")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    parallel_task(item_retry_on="OSError")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    parallel_task(batch_size="big")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def connections(database: sqlite3.Connection) -> None:
    """A resource's function may return anything."""
    parallel_task(per_worker={"conn": lambda: closing(database)}, backend="threading")


def kit(airflow_task: Callable[..., AbstractContextManager[TaskRun]]) -> None:
    """The test kit, by the fixture and by its own names."""
    from airflow_joblib.testing import load_dag_file, task

    module: ModuleType = load_dag_file("dags/shop.py")
    assert_type(module.__name__, str)
    with task(variables={"rate": 7}, connections={"shop": {"conn_type": "http"}, "db": "sqlite://"}, context={}) as run:
        assert_type(run.logs, list[dict[str, Any]])
        assert_type(run.xcoms, dict[str, Any])
        run.kill_worker(item=1)
    with airflow_task() as run:
        assert_type(run, "TaskRun")
    task({"rate": "7"})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_types_are_checked_elsewhere() -> None:
    """This file is for type checkers; running it shows that what it decorates can be decorated."""
    assert isinstance(bare, ParallelTask)
    assert called.options.n_jobs == 4
