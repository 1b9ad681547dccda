"""Forked workers, and workers that multiprocessing starts anew, under the executor's own main script."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

from airflow.sdk import dag, task

from airflow_joblib import parallel_task


class Point:
    """Only this file knows it."""


@parallel_task(n_jobs=2, backend="multiprocessing")
def look(_: int) -> tuple[int, bool, bool, Point]:
    """The process, whether Airflow is imported in it, whether it has run the main script, and an object."""
    time.sleep(0.05)
    main = getattr(sys.modules.get("__mp_main__"), "__file__", None)
    return os.getpid(), "airflow" in sys.modules, main is not None, Point()


@task
def under(method: str) -> dict[str, object]:
    """Fan out with a start method; afterwards the task's line to its supervisor works as before."""
    from airflow.sdk import Variable

    multiprocessing.set_start_method(method, force=True)
    found = look.map(range(6))
    return {
        "workers": len({pid for pid, _, _, _ in found}),
        "airflow": any(airflow for _, airflow, _, _ in found),
        "main": any(main for _, _, main, _ in found),
        "points": all(type(point) is Point for _, _, _, point in found),
        "variable": Variable.get("not there", default="default"),
    }


@dag(schedule=None)
def start_methods() -> None:
    """One task for each start method."""
    for method in ("fork", "spawn", "forkserver"):
        under.override(task_id=method)(method)


start_methods()
