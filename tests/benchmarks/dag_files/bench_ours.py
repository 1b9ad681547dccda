"""The items by airflow-joblib, in one task instance."""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task

from airflow_joblib import parallel_task


@dag(schedule=None, params={"count": Param(100, type="integer")})
def bench_ours() -> None:
    @task
    def numbers() -> list[int]:
        return list(range(get_current_context()["params"]["count"]))

    @parallel_task(n_jobs=2)
    def items(number: int) -> int:
        return number

    items(numbers())


bench_ours()
