"""Items that take a second each and leave a trace, on every backend of this machine, to be ended in every way."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_joblib import parallel_task

FOLDER = "{{ dag_run.conf['folder'] }}"
#: Where an executor has queues, a worker that is killed with its task takes from this one alone.
QUEUE = {"queue": "doomed"}
#: Enough to be laid into memory that workers share.
TABLE = bytes(2 << 20)


@parallel_task(n_jobs=2, batch_size=2)
def slow(item: int, folder: str) -> int:
    """Say that it began, take a second, say that it ended."""
    began = Path(folder, f"{item}.began")
    began.with_suffix(".tmp").write_text(str(os.getpid()))
    began.with_suffix(".tmp").rename(began)
    time.sleep(1)
    Path(folder, f"{item}.ended").touch()
    return item + TABLE[item]


@parallel_task(n_jobs=2, batch_size=2)
def failing(item: int, folder: str) -> int:
    """As above, with an item that fails."""
    if item == 3:
        raise ValueError(item)
    return int(slow.function(item, folder))


def wait_for_go(item: int, folder: str, name: str) -> int:
    """Say which process this is, and its parent; wait for the file that says go."""
    trace = Path(folder, f"{name}-{item}")
    trace.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()}")
    trace.with_suffix(".part").rename(trace)
    until = time.monotonic() + 400
    while not Path(folder, f"{name}.go").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return item


@task
def empty(folder: str) -> None:
    """Do nothing but wait."""
    wait_for_go(0, folder, "empty")


def use_threads(value: str) -> str:
    """Start a thread that is none of Python's, which a fork would lose."""
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
    return value


@parallel_task(n_jobs=2, concurrency=500, task_id="slow")
async def waiting(item: int, folder: str, seconds: float, fails: int = -1) -> int:
    """Say that it began, wait, and say that it was left, whatever has ended it."""
    began = Path(folder, f"{item}.began")
    began.with_suffix(".tmp").write_text(str(os.getpid()))
    began.with_suffix(".tmp").rename(began)
    try:
        await asyncio.sleep(seconds / 4 if item == fails else seconds)
        if item == fails:
            raise ValueError(item)
        began.with_suffix(".ended").touch()
    finally:
        await asyncio.sleep(0)
        began.with_suffix(".left").touch()
    return item


# Workers are forked from what the task was before its arguments were loaded.
with DAG("endings_early", schedule=None, default_args=QUEUE, user_defined_macros={"use_threads": use_threads}):
    slow.override(backend="auto")(list(range(40)), folder="{{ use_threads(dag_run.conf['folder']) }}")


with DAG("endings_slots", schedule=None):
    ours = parallel_task(n_jobs=2, task_id="ours")(wait_for_go)
    empty(FOLDER) >> ours(list(range(6)), folder=FOLDER, name="ours")


with DAG("endings_async", schedule=None, default_args=QUEUE):
    waiting(list(range(1000)), folder=FOLDER, seconds=60)

with DAG("endings_few_async", schedule=None, default_args=QUEUE):
    waiting(list(range(1000)), folder=FOLDER, seconds=6)

with DAG("endings_failing_async", schedule=None, default_args=QUEUE):
    waiting.override(task_id="failing")(list(range(1000)), folder=FOLDER, seconds=20, fails=3)

with DAG("endings_timeout_async", schedule=None, default_args=QUEUE):
    waiting.override(execution_timeout=timedelta(seconds=8))(list(range(1000)), folder=FOLDER, seconds=60)


for backend in ("loky", "multiprocessing", "threading", "sequential", "dask", "ray", "spark"):
    with DAG(f"endings_{backend}", schedule=None, default_args=QUEUE):
        slow.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_few_{backend}", schedule=None, default_args=QUEUE):
        slow.override(backend=backend)(list(range(8)), folder=FOLDER)

    with DAG(f"endings_failing_{backend}", schedule=None, default_args=QUEUE):
        failing.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_timeout_{backend}", schedule=None, default_args=QUEUE):
        # Time enough for items to begin on a busy machine; those that run side by side end one after another.
        limit = timedelta(seconds={"multiprocessing": 10, "loky": 12}.get(backend, 8))
        slow.override(backend=backend, execution_timeout=limit)(list(range(40)), folder=FOLDER)
