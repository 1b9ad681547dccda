"""A parallel task that ends with an item's own exception."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_joblib import parallel_task


class RefusedError(Exception):
    """Of this file."""


@parallel_task
def refuse(number: int) -> int:
    """Raise on one item."""
    if number == 3:
        raise RefusedError("three is refused")
    return number


@dag(schedule=None)
def own_error_ends_task() -> None:
    """One task, which fails."""
    refuse(list(range(6)))


own_error_ends_task()
