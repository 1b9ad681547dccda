"""Runs whose record is read while they go on, and when they are over."""

from __future__ import annotations

import time
from pathlib import Path

from airflow.sdk import DAG, Variable, task
from airflow.sdk.log import mask_secret

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2, label=lambda item: f"order {item['id']} hunter2-of-record", max_failures=3)
def goes_on(item: dict[str, int], gate: str) -> int:
    """Wait at the gate with one item in ten; fail on two."""
    if item["id"] == 0:
        mask_secret("hunter2-of-record")
    if item["id"] in {3, 5}:
        raise LookupError(f"no order {item['id']}: {Variable.get('of_environment')}")
    if item["id"] % 10 == 9:
        while not Path(gate).exists():
            time.sleep(0.05)
    return item["id"]


@parallel_task(n_jobs=2)
def fails(item: int) -> int:
    """Fail on one."""
    if item == 7:
        raise LookupError("no 7")
    return item


@parallel_task(n_jobs=2)
def many(item: int) -> None:
    """Do nothing."""


@parallel_task(n_jobs=2)
def none(item: int) -> None:
    """Do nothing."""


@parallel_task(n_jobs=1)
def one(item: int) -> int:
    """Double."""
    return 2 * item


@task
def several() -> int:
    """Fan out twelve times, quickly."""
    return sum(len(one.map(range(number))) for number in range(1, 13))


@task
def no_fan_out() -> int:
    """Fan nothing out."""
    return 1


@task(retries=1, retry_delay=0)
def again(ti=None) -> int:
    """Fan out twice in the first try, once in the second."""
    one.map(range(3))
    if ti.try_number == 1:
        one.map(range(3))
        raise LookupError("once")
    return 1


with DAG("record", schedule=None, params={"gate": "/nowhere"}) as dag:
    goes_on([{"id": number} for number in range(100)], gate="{{ params.gate }}")
    fails(range(20))
    many(range(100_000))
    none([])
    several()
    no_fan_out()
    again()
