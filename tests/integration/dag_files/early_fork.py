"""Tasks that use threads, which a fork would lose, before their fan-out begins."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Any

from airflow.sdk import dag, get_current_context, task

from airflow_joblib import parallel_task

log = logging.getLogger("shop.orders")
SET = ["at the top level"]


class Point:
    """Only this file knows it."""


def use_threads(value: Any = "used") -> Any:
    """Start a thread that is none of Python's, as pyarrow does where an XCom is a table, and note it."""
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
    SET.append("since")
    return value


@task
def lists() -> list[list[int]]:
    """Items of two mapped instances."""
    return [[1, 2], [3, 4]]


@parallel_task(n_jobs=2, batch_size=1)
def look(item: int, used: str = "", run_id: str | None = None) -> dict[str, Any]:
    """What a worker has of its task, and of Airflow."""
    from airflow.sdk import Variable

    log.info("informed of %d", item)
    context: Any = get_current_context()
    return {
        "item": item,
        "used": used,
        "set": list(SET),
        "variable": Variable.get("started"),
        "map_index": context["map_index"],
        "run_id": run_id == context["run_id"],
        "task_id": os.environ["AIRFLOW_CTX_TASK_ID"],
    }


@parallel_task(n_jobs=2)
def points(_: int) -> Point:
    """An object of the file's own class."""
    return Point()


@task
def body() -> dict[str, Any]:
    """Use threads in the body of a task, then fan out."""
    use_threads()
    found = look.map([1, 2])
    made = points.map([1, 2])
    return {"set": [each["set"] for each in found], "points": all(type(each) is Point for each in made)}


@dag(schedule=None, user_defined_macros={"use_threads": use_threads})
def early_fork() -> None:
    """Without mapping and with it, and where no thread is used."""
    look.override(task_id="templated")([1, 2], "{{ use_threads() }}")
    look.override(task_id="mapped").expand(item=lists().map(use_threads))
    look.override(task_id="late")([1, 2])
    body()


early_fork()
