"""Thumbnails that are only waited for: a run of some seconds with items that fail, and some that take long."""

from __future__ import annotations

import random
import time

from airflow.sdk import dag, task

from airflow_joblib import parallel_task


@task
def list_scans() -> list[str]:
    """Paths of images that need not be there."""
    return [f"scans/{number:04}.png" for number in range(400)]


@parallel_task(n_jobs=4, item_retries=1, item_retry_delay=0.2, max_failures=0.1, label=str)
def thumbnail(path: str) -> str:
    """Wait for as long as an image of this path would take, the same each time."""
    chance = random.Random(path)
    time.sleep(chance.lognormvariate(-2.4, 0.6) * (20 if chance.random() < 0.01 else 1))
    fails = chance.random()
    if fails < 0.02:
        msg = "not an image: 0 bytes"
        raise ValueError(msg)
    if fails < 0.03:
        msg = "no answer from the store within 30 s"
        raise TimeoutError(msg)
    return path.replace("scans", "thumbnails")


@dag(schedule=None, tags=["airflow-joblib"])
def gallery() -> None:
    """List, then fan out."""
    thumbnail(list_scans())


gallery()
