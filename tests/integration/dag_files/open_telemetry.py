"""A run whose figures go to OpenTelemetry: the task's span, and metrics."""

from __future__ import annotations

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2, max_failures=1, item_retries=1, item_retry_delay=0.1)
def thumbnail(item: int) -> int:
    """Fail on one item, and skip one."""
    if item == 3:
        raise LookupError("no 3")
    if item == 4:
        raise AirflowSkipException
    return item


with DAG("open_telemetry", schedule=None) as dag:
    thumbnail(range(12))
