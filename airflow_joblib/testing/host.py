"""What a run finds around it in a unit test: the task, each of whose fan-outs is all that it does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow.dag.task import STAYING
from airflow_joblib.taskflow.relay.worker_context import task_context
from airflow_joblib.taskflow.relay.worker_setup import Steps
from airflow_joblib.taskflow.task import host, xcom, xcom_check
from airflow_joblib.worker.worker import current_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from inspect import Signature

    from airflow_joblib.wire.call import Call

__all__ = ["UnitTest"]


class UnitTest(host.Task):
    """The task in a unit test.

    Args:
        ti: The made-up task instance, of which each fan-out is all that it does.
        in_workers: Makes what each worker process runs first.
        push: Takes the results of a fan-out, and pushes them as the task's XCom.
    """

    def __init__(
        self, ti: Any, in_workers: Callable[[], Callable[[], None]], push: Callable[[list[Any]], None]
    ) -> None:
        self._ti = ti
        self._in_workers = in_workers
        self._push = push

    @contextmanager
    def services(self) -> Iterator[Callable[[], None]]:
        """Serve worker processes for the length of a run, and have them do what the test has for them."""
        with super().services() as prepare:
            yield Steps((prepare, self._in_workers()))

    def completed(
        self, signature: Signature, given: Callable[[], Mapping[str, Any]], kwargs: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Fill in the context parameters that the function names and the call leaves out, as the operator does."""
        context: Any = task_context()
        left_out = signature.parameters.keys() - given().keys() - STAYING.keys() - kwargs.keys()
        return {**{name: context[name] for name in left_out if name in context}, **kwargs}

    def result_check(self, call: Call) -> Callable[[int, object], str | None] | None:
        """Return a check of whether a result fits the XCom: the results of every fan-out of the test are one."""
        return xcom_check.unfit if self._is_all() and xcom.serialized_by_airflow() else super().result_check(call)

    def size_of(self, call: Call, values: Sequence[Any]) -> int | None:
        """Return about how many bytes the results will have as an XCom."""
        return xcom.size(values) if self._is_all() else super().size_of(call, values)

    def take_results(self, call: Call, values: list[Any]) -> None:
        """Push the results, as the task pushes what its callable returns."""
        del call
        if self._is_all():
            self._push(values)

    def _is_all(self) -> bool:
        """Return whether neither an item of another fan-out nor a whole task has called this one."""
        return current_item() is None and (task_context() or {}).get("ti") is self._ti
