"""Forked workers, and workers that multiprocessing starts anew, under the executor's own main script."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

log = logging.getLogger("shop.orders")


class Point:
    """Only this file knows it."""


def meet(folder: str, workers: int) -> None:
    """Wait until so many workers have come here: on a busy machine one does all before another one has started."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 100
    while len([*Path(folder).iterdir()]) < workers and time.monotonic() < until:
        time.sleep(0.01)


@parallel_task(n_jobs=2, backend="multiprocessing")
def look(_: int, folder: str) -> tuple[int, bool, bool, Point]:
    """The process, whether Airflow is imported in it, whether it has run the main script, and an object."""
    meet(folder, 2)
    main = getattr(sys.modules.get("__mp_main__"), "__file__", None)
    return os.getpid(), "airflow" in sys.modules, main is not None and Path(main).name == "airflow", Point()


@parallel_task(n_jobs=2, backend="multiprocessing")
def ask(item: int) -> str:
    """Log, and ask for a Variable."""
    from airflow.sdk import Variable

    log.info("informed of %d", item)
    return str(Variable.get("started", default="the default"))


@task
def under(method: str) -> dict[str, object]:
    """Fan out with a start method; afterwards the task's line to its supervisor works as before."""
    from airflow.sdk import Variable

    multiprocessing.set_start_method(method, force=True)
    with tempfile.TemporaryDirectory() as folder:
        found = look.map(range(6), folder)
    return {
        "workers": len({pid for pid, _, _, _ in found}),
        "airflow": any(airflow for _, airflow, _, _ in found),
        "main": any(main for _, _, main, _ in found),
        "points": all(type(point) is Point for _, _, _, point in found),
        "asked": ask.map(range(2)),
        "variable": Variable.get("not there", default="default"),
    }


@dag(schedule=None)
def start_methods() -> None:
    """One task for each start method."""
    for method in ("fork", "spawn", "forkserver"):
        under.override(task_id=method)(method)


start_methods()
