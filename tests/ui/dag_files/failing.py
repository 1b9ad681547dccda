"""A task that fails, whose log people look at."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_joblib import parallel_task


def look_up(number: int) -> int:
    """Fail below the item's function."""
    raise LookupError(f"no such login: {number}")


@parallel_task(n_jobs=2, label=lambda number: f"login {number}")
def log_in(number: int) -> int:
    """Fail on the third item."""
    return look_up(number) if number == 2 else number


with DAG("failing", schedule=None) as dag:
    log_in(range(4))
