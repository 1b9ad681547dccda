"""Items that take a second each and leave a trace, on every local backend, to be ended in every way."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_joblib import parallel_task

FOLDER = "{{ dag_run.conf['folder'] }}"


@parallel_task(n_jobs=2, batch_size=2)
def slow(item: int, folder: str) -> int:
    """Say that it began, take a second, say that it ended."""
    began = Path(folder, f"{item}.began")
    began.with_suffix(".tmp").write_text(str(os.getpid()))
    began.with_suffix(".tmp").rename(began)
    time.sleep(1)
    Path(folder, f"{item}.ended").touch()
    return item


@parallel_task(n_jobs=2, batch_size=2)
def failing(item: int, folder: str) -> int:
    """As above, with an item that fails."""
    if item == 3:
        raise ValueError(item)
    return int(slow.function(item, folder))


for backend in ("loky", "multiprocessing", "threading", "sequential"):
    with DAG(f"endings_{backend}", schedule=None):
        slow.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_failing_{backend}", schedule=None):
        failing.override(backend=backend)(list(range(40)), folder=FOLDER)

    with DAG(f"endings_timeout_{backend}", schedule=None):
        limit = timedelta(seconds=4)
        slow.override(backend=backend, execution_timeout=limit)(list(range(40)), folder=FOLDER)
