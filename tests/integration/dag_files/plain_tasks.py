"""Plain TaskFlow, to try the harness on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

if TYPE_CHECKING:
    from collections.abc import Iterable


@task
def numbers() -> list[int]:
    """Two numbers."""
    return [1, 2]


@task
def multiply(number: int, dag_run: Any = None) -> int:
    """The number times what the run's conf says."""
    print(f"times {dag_run.conf['factor']}")
    return int(number * dag_run.conf["factor"])


@task(multiple_outputs=False)
def pair(products: Iterable[int]) -> dict[str, Any]:
    """A tuple and a list in a dict."""
    return {"pair": (1, 2), "products": list(products)}


@task
def fail(_: Any) -> None:
    """Fail."""
    raise RuntimeError("no luck")


@dag(schedule=None)
def plain_tasks() -> None:
    """Success, mapped, and failure."""
    fail(pair(multiply.expand(number=numbers())))


plain_tasks()
