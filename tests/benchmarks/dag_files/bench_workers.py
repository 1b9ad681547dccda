"""Workers whose items use Airflow: when they begin, and what each weighs while all are there."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from airflow.sdk import Param, Variable, dag, get_current_context, task

from airflow_joblib import parallel_task

TABLE = pd.DataFrame({"number": np.arange(10)})


def use(_: int, folder: str, workers: int) -> tuple[float, float]:
    """Use Airflow until every worker does; return when this one began, and the MiB of its process."""
    began = time.monotonic()
    Variable.get("of_no_item", default=TABLE.size)
    Path(folder, str(os.getpid())).touch()
    while sum(1 for _ in Path(folder).iterdir()) < workers:
        time.sleep(0.01)
    return began, mebibytes()


def mebibytes() -> float:
    """The proportional set size: what is shared with other processes counts by their number."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()  # which may be closed to other processes
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@dag(schedule=None, params={"workers": Param(4, type="integer"), "backend": Param("auto", type="string")})
def bench_workers() -> None:
    @task
    def items() -> dict[str, float]:
        began = time.monotonic()
        params = get_current_context()["params"]
        workers = params["workers"]
        run = parallel_task(n_jobs=workers, backend=params["backend"])(use)
        with tempfile.TemporaryDirectory() as folder:
            starts, sizes = zip(*run.map(range(workers), folder=folder, workers=workers), strict=True)
        return {
            "first item": min(starts) - began,
            "seconds": max(starts) - began,
            "MiB a worker": sum(sizes) / workers,
            "MiB of all": sum(sizes),
        }

    items()


bench_workers()
