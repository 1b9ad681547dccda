"""Runs whose record can't be written, or is not wanted, and whose figures go to StatsD."""

from __future__ import annotations

import os
import time

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2, max_failures=2, item_retries=1, item_retry_delay=0.1)
def refused(item: int) -> int:
    """Fail on one, skip one, and take long enough for a record to be written meanwhile."""
    if item == 3:
        raise LookupError("no 3")
    if item == 4:
        raise AirflowSkipException
    time.sleep(0.5)
    return item


@parallel_task(n_jobs=2)
def double(item: int) -> int:
    """Double."""
    return 2 * item


@task
def unwanted() -> list[int]:
    """Fan out without a record."""
    os.environ["AIRFLOW__JOBLIB__RECORD"] = "False"
    return double.map(range(3))


with DAG("record_elsewhere", schedule=None) as dag:
    refused(range(12))
    unwanted()
