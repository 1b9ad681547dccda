"""Have Airflow load what it loads when the first DAG of a process is made, so that processes forked later have it."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_joblib.taskflow.dag.helper_tasks import make_helper

__all__ = ["warm_up"]


def warm_up() -> None:
    """Make DAGs with a task, which go nowhere."""
    for schedule in (None, "@daily"):
        with DAG("warm_up", schedule=schedule):
            make_helper(_nothing, {})()


def _nothing() -> list[object]:
    return []
