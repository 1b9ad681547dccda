"""Failures as someone sees them who reads the task's log in Airflow's UI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG

from airflow_joblib import parallel_task

BACKENDS = ("loky", "multiprocessing", "threading", "sequential")
LOGINS = [{"n": n, "password": f"swordfish-{n}" * 30} for n in range(4)]


@dataclass
class Order:
    """What no task downstream may load."""

    n: int


def look_up(login: dict[str, Any]) -> int:
    """Fail below the item's function, for another failure."""
    try:
        return int({}[login["n"]])
    except KeyError as error:
        raise LookupError(f"no such login: {login}") from error


def log_in(login: dict[str, Any]) -> int:
    """Fail on the third."""
    return look_up(login) if login["n"] == 2 else 0


@parallel_task(n_jobs=2, max_failures=100)
def many(item: int) -> int:
    """Fail on all but a few, with long messages."""
    if item > 1:
        raise ValueError(f"no {item}" + "x" * 10_000)
    return item


@parallel_task(n_jobs=2, max_failures=3)
def beyond(item: int) -> int:
    """Fail on all."""
    raise ValueError(f"no {item}")


@parallel_task(n_jobs=2)
def orders(item: int) -> Order:
    """Return what looks like data."""
    return Order(item)


@parallel_task(n_jobs=2, max_failures=2)
def numbers(item: int) -> float:
    """Return what is no number, once."""
    return math.nan if item == 3 else float(item)


with DAG("failures", schedule=None) as dag:
    for backend in BACKENDS:
        parallel_task(n_jobs=2, backend=backend, task_id=f"log_in_{backend}")(log_in)(LOGINS)
    parallel_task(n_jobs=2, max_failures=3, task_id="tolerant")(log_in)(LOGINS)
    many(range(20))
    beyond(range(50))
    orders(range(4))
    numbers(range(5))
