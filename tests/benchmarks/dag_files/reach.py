"""One DAG for each way to run the same items, and one that only passes an XCom on."""

from __future__ import annotations

import os
import time
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from airflow_joblib import join, parallel_task, split

PARAMS = {
    "count": Param(1, type="integer"),
    "seconds": Param(0.0, type="number"),
    "size": Param(0, type="integer"),
}
#: Of a fan-out: backend of the task that runs it.
BACKENDS = {"threads": "threading", "loky": "loky", "multiprocessing": "multiprocessing"}
ENGINES = os.environ.get("REACH_ENGINES", "").split()


def compute(seconds: float, size: int) -> str:
    """Use the CPU for so long, and return so many bytes."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return "x" * size


@task
def given() -> list[float]:
    """The items."""
    params = get_current_context()["params"]
    return [params["seconds"]] * params["count"]


def make(name: str, build: Any) -> None:
    """Define the DAG of a choice."""

    @dag(dag_id=f"reach_{name}", schedule=None, params=PARAMS)
    def made() -> None:
        build()

    globals()[name] = made()


def item_of(**options: Any) -> Any:
    """The parallel task of a choice."""

    @parallel_task(n_jobs=2, task_id="work", **options)
    def work(seconds: float, params: Any = None) -> str:
        return compute(seconds, params["size"])

    return work


def loop() -> None:
    @task
    def work(items: list[float], params: Any = None) -> list[str]:
        return [compute(seconds, params["size"]) for seconds in items]

    work(given())


def expand() -> None:
    @task
    def work(seconds: float, params: Any = None) -> str:
        return compute(seconds, params["size"])

    work.expand(seconds=given())


def chunks() -> None:
    join(item_of(backend="loky").expand(seconds=split(given(), into=2)))


def xcom() -> None:
    @task
    def work(params: Any = None) -> str:
        return "x" * params["size"]

    @task(task_id="read")
    def read(text: str) -> int:
        return len(text)

    read(work())


for name, build in {"loop": loop, "expand": expand, "chunks": chunks, "xcom": xcom}.items():
    make(name, build)
for name, backend in {**BACKENDS, **{engine: engine for engine in ENGINES}}.items():
    make(name, lambda backend=backend: item_of(backend=backend)(given()))
