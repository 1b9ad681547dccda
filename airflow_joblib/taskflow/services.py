"""What the task's process does for its worker processes while a run lasts."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_joblib.taskflow import in_worker
from airflow_joblib.taskflow.in_worker import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["inside_task", "item_marks", "of_run"]


def inside_task() -> bool:
    """Tell whether this process runs a task, with a supervisor to ask."""
    return getattr(sys.modules.get(in_worker.TASK_RUNNER), "SUPERVISOR_COMMS", None) is not None


def item_marks() -> AbstractContextManager[None]:
    """Mark the log records of this process's own threads with the item that the thread runs."""
    from airflow_joblib.taskflow import logs

    return logs.item_marks()


@contextmanager
def of_run() -> Iterator[Callable[[], None]]:
    """Serve the workers of one run; gives what each of them runs first."""
    from airflow_joblib.taskflow import logs

    with logs.of_workers() as worker_logs:
        yield Steps((in_worker.prepare, worker_logs))
