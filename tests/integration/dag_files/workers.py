"""Which processes a fan-out has, and what Airflow gives in them, for another executor to be asked."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

FOLDER = "{{ dag_run.conf['folder'] }}"
log = logging.getLogger("shop.orders")


def meet(folder: str, workers: int) -> None:
    """Wait until so many workers have come here: on a busy machine one does all before another one has started."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 100
    while len([*Path(folder).iterdir()]) < workers and time.monotonic() < until:
        time.sleep(0.01)


@parallel_task(n_jobs=3)
def where(item: int, folder: str, workers: int = 3) -> int:
    """Which process this is, once there are so many."""
    meet(folder, workers)
    return os.getpid()


@task
def here() -> dict[str, Any]:
    """Fan out in a task's body."""
    import multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        pids = where.map(range(6), folder)
    return {"pids": pids, "task": os.getpid(), "daemon": multiprocessing.current_process().daemon}


@parallel_task(n_jobs=2)
def ask(item: int) -> list[str | None]:
    """Ask for a Variable and a connection, and log."""
    from airflow.sdk import BaseHook, Variable

    log.info("informed of %d", item)
    return [Variable.get("greeting", default="the default"), BaseHook.get_connection("shop").host]


@dag(schedule=None)
def workers() -> None:
    """Each for every backend."""
    for backend in ("loky", "multiprocessing", "threading"):
        workers = 1 if backend == "threading" else 3
        where.override(backend=backend, task_id=backend)(list(range(12)), f"{FOLDER}/{backend}", workers)
    for backend in ("loky", "multiprocessing"):
        ask.override(backend=backend, task_id=f"ask_{backend}")([0, 1])
    here()


workers()
