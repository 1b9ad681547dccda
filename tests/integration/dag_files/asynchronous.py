"""Asynchronous functions in every form of a task, which ask Airflow and log while others of them wait."""

from __future__ import annotations

import asyncio
import logging

from airflow.sdk import Connection, Variable, dag, task

from airflow_joblib import parallel_task

log = logging.getLogger("shop.orders")


@parallel_task(n_jobs=2, concurrency=10, item_retries=1, item_retry_delay=0)
async def ask(number: int, factor: int = 1, run_id: str | None = None) -> list[object]:
    """Ask for a Variable beside the loop, log before and after a wait."""
    log.info("before %d", number)
    value = await asyncio.to_thread(Variable.get, "asynchronous", default="none")
    connection = await Connection.async_get("asynchronous")
    await asyncio.sleep(0.01)
    log.info("after %d", number)
    return [number * factor, value, bool(run_id), connection.host]


@task
@parallel_task(n_jobs=2)
async def stacked(number: int) -> int:
    """A task above the fan-out, which Airflow takes for an asynchronous one from 3.2 on."""
    await asyncio.sleep(0)
    return 2 * number


@dag(schedule=None)
def asynchronous() -> None:
    """Each form once."""
    ask(list(range(20)), factor=3)
    for backend in ("loky", "threading", "sequential"):
        ask.override(task_id=f"ask_{backend}", backend=backend)(list(range(20)), factor=3)
    ask.override(task_id="mapped").partial(factor=2).expand(number=[[1, 2], [3]])
    stacked([1, 2, 3])


asynchronous()
