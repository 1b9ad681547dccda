"""What a run finds around it in a unit test: the task, each of whose fan-outs is all that it does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow.dag.task import STAYING
from airflow_joblib.taskflow.relay.worker_context import current
from airflow_joblib.taskflow.relay.worker_setup import Steps
from airflow_joblib.taskflow.task import fitting, host, xcom
from airflow_joblib.worker.worker import current_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from inspect import Signature

    from airflow_joblib.wire.call import Call

__all__ = ["UnitTest"]


class UnitTest(host.Task):
    """The task in a unit test.

    Args:
        in_workers: Makes what each worker process runs first.
        push: Takes the results of a fan-out, and pushes them as the task's XCom.
    """

    def __init__(self, in_workers: Callable[[], Callable[[], None]], push: Callable[[list[Any]], None]) -> None:
        self._in_workers = in_workers
        self._push = push
        self.when_over: list[Callable[[], object]] = []

    @contextmanager
    def services(self) -> Iterator[Callable[[], None]]:
        """Serve worker processes for the length of a run, and have them do what the test has for them."""
        with super().services() as prepare:
            yield Steps((prepare, self._in_workers()))

    def completed(
        self, signature: Signature, given: Callable[[], Mapping[str, Any]], kwargs: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Fill in the context parameters that the function names and the call leaves out, as the operator does."""
        context: Any = current()
        left_out = signature.parameters.keys() - given().keys() - STAYING.keys() - kwargs.keys()
        return {**{name: context[name] for name in left_out if name in context}, **kwargs}

    def result_check(self, call: Call) -> Callable[[int, object], str | None] | None:
        """Return what tells why a result can't be in the XCom: the results of every fan-out of the test are one."""
        return fitting.unfit if _is_outermost() and xcom.serialized_by_airflow() else super().result_check(call)

    def size_of(self, call: Call, values: Sequence[Any]) -> int | None:
        """Return about how many bytes the results will have as an XCom."""
        return xcom.size(values) if _is_outermost() else super().size_of(call, values)

    def take_results(self, call: Call, values: list[Any]) -> None:
        """Push the results, as the task pushes what its callable returns."""
        del call
        if _is_outermost():
            self._push(values)

    def when_succeeded(self, act: Callable[[], object]) -> None:
        """Act when the task is over and nothing was raised."""
        self.when_over.append(act)


def _is_outermost() -> bool:
    """Return whether no item of another fan-out has called this one."""
    return current_item() is None
