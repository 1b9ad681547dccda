"""A thousand items that do nothing, beside a task that does nothing."""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_joblib import parallel_task


@parallel_task
def no_op(number: int) -> int:
    """Do nothing."""
    return number


@task
def empty() -> None:
    """Do nothing."""


@dag(schedule=None)
def no_ops() -> None:
    """First one, then the other, both in a process that is warm by then."""
    first = empty.override(task_id="warm_up")()
    first >> empty() >> no_op(list(range(1000)))


no_ops()
