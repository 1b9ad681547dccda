"""What the task's process does for its worker processes while a run lasts."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import in_worker
from airflow_joblib.taskflow.in_worker import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["inside_task", "of_run", "watched"]


def inside_task() -> bool:
    """Tell whether this process runs a task, with a supervisor to ask."""
    return _supervisor() is not None


@contextmanager
def watched() -> Iterator[Callable[[], None]]:
    """Watch a run in the task's process: end it from outside, mark its threads' log records with their item."""
    from airflow_joblib.taskflow import ending, logs

    with ending.watched() as check, logs.item_marks():
        yield check


@contextmanager
def of_run() -> Iterator[Callable[[], None]]:
    """Serve the workers of one run; gives what each of them runs first."""
    from airflow_joblib.taskflow import logs
    from airflow_joblib.taskflow.messages import Answers
    from airflow_joblib.taskflow.relay import Relay

    with Relay(Answers(_supervisor())) as relay, logs.of_workers() as worker_logs:
        yield Steps((in_worker.Prepare(relay.address, relay.key, _context()), worker_logs))


def _supervisor() -> Any:
    return getattr(sys.modules.get(in_worker.TASK_RUNNER), "SUPERVISOR_COMMS", None)


def _context() -> dict[str, bytes] | None:
    from airflow_joblib.taskflow.context import travelling

    current = sys.modules[in_worker.CONTEXT]._CURRENT_CONTEXT if in_worker.CONTEXT in sys.modules else ()  # noqa: SLF001
    return travelling(current[-1]) if current else None
