"""A whole task in a unit test: what Airflow's task runner does once it has the task, and the supervisor."""

from __future__ import annotations

import signal
import threading
from typing import Any

import structlog

from airflow_joblib.pools.early import close_early
from airflow_joblib.taskflow import airflow_internals

__all__ = ["push", "run"]


def push(ti: Any, task_id: str, value: Any) -> None:
    """Have a task of the same DAG run have returned a value."""
    airflow_internals.XCom.set(
        key="return_value", value=value, dag_id=ti.dag_id, task_id=task_id, run_id=ti.run_id, map_index=-1
    )


def run(ti: Any, context: Any) -> None:
    """Run a task, and what Airflow does after it.

    Raises:
        Exception: What the task has raised; AirflowSkipException, if it was skipped.
    """
    log = structlog.get_logger(logger_name="task")
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        state, _, error = airflow_internals.run_task(ti, context, log)
        context["exception"] = error
        airflow_internals.finalize_task(ti, state, context, log, error)
    finally:
        close_early()  # where the task has failed before its execute, which would have closed it
        if in_main_thread:
            signal.signal(signal.SIGTERM, handler)
    if error is not None:
        raise error
    if str(getattr(state, "value", state)) == "skipped":
        msg = f"The task {ti.task_id!r} was skipped."
        raise airflow_internals.AirflowSkipException(msg)
