"""Items that take a second each and leave a trace, on every backend of this machine, to be ended in every way."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

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


for backend in ("loky", "multiprocessing", "threading", "sequential", "dask", "ray", "spark"):
    with DAG(f"endings_{backend}", schedule=None, default_args=QUEUE):
        slow.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_few_{backend}", schedule=None, default_args=QUEUE):
        slow.override(backend=backend)(list(range(8)), folder=FOLDER)

    with DAG(f"endings_failing_{backend}", schedule=None, default_args=QUEUE):
        failing.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_timeout_{backend}", schedule=None, default_args=QUEUE):
        limit = timedelta(seconds=12)  # time enough for items to begin on a busy machine
        slow.override(backend=backend, execution_timeout=limit)(list(range(40)), folder=FOLDER)
