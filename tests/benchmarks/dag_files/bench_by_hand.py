"""The items by joblib in a task: with a builtin, since a function of this file would not reach a worker."""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task


@dag(schedule=None, params={"count": Param(100, type="integer")})
def bench_by_hand() -> None:
    @task
    def numbers() -> list[int]:
        return list(range(get_current_context()["params"]["count"]))

    @task
    def items(found: list[int]) -> list[int]:
        from joblib import Parallel, delayed

        return list(Parallel(n_jobs=2)(delayed(abs)(number) for number in found))

    items(numbers())


bench_by_hand()
