"""The items by TaskFlow's own mapping, a task instance each."""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task


@dag(schedule=None, params={"count": Param(100, type="integer")})
def bench_expand() -> None:
    @task
    def numbers() -> list[int]:
        return list(range(get_current_context()["params"]["count"]))

    @task
    def items(number: int) -> int:
        return number

    items.expand(number=numbers())


bench_expand()
