"""Parallel tasks with everything that the check finds by loading, each with its code at its line."""

import sqlite3
import threading
from datetime import timedelta

from airflow.sdk import dag

from airflow_joblib import parallel_task

print("What a file prints is no trouble.")
conn = sqlite3.connect(":memory:")  # AJ201
LOCK = threading.Lock()  # AJ201
SILENT = threading.Lock()  # noqa: AJ201


def save(item: int) -> None:
    conn.execute("SELECT ?", (item,))


def opened():
    lock = threading.Lock()  # AJ201

    @parallel_task(n_jobs=2)
    def inner(item: int) -> bool:
        return lock.locked()

    return inner


@parallel_task(
    n_jobs=0,  # AJ203
    item_retrys=3,  # AJ203
    item_timeout=-1,  # AJ203
    chunksize=3,  # AJ203
)
def one(item: int) -> None:
    save(item)


@parallel_task(
    n_jobs=4,
    backend="threading",
    pool_slots=2,  # AJ301
    item_timeout=5,  # AJ301
)
def two(item: int, ti=None) -> int:
    return item


@parallel_task
def three(
    item: int,
    ti,  # AJ202
) -> int:
    with LOCK, SILENT:
        return item


@parallel_task(
    per_worker={"lock": lambda: LOCK},  # AJ201
    item_timeout=60,  # AJ301
    execution_timeout=timedelta(seconds=60),
)
def four(item: int, lock) -> int:
    return item


@parallel_task
def never_called(
    item: int,
    guard=threading.Lock(),  # AJ201
) -> int:
    return item


@parallel_task(n_jobs=3, backend="sequential")  # AJ301
def five(item: int) -> int:
    return item


@dag(schedule=None)
def culprits():
    one([1])
    two([1])
    two([2])
    three([1])
    four.override(task_id="other", max_failures=-1)([1])  # AJ203
    four.partial().expand(item=[[1]])
    five([1])
    opened()([1])


culprits()
