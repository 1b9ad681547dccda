"""A thousand requests at once, from eight forked workers or two fresh ones; and how long one takes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

FOLDER = "{{ dag_run.conf['folder'] }}"


def meet(folder: str, workers: int) -> None:
    """Wait until so many workers have come here: on a busy machine one does all before another one has started."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 100
    while len([*Path(folder).iterdir()]) < workers and time.monotonic() < until:
        time.sleep(0.01)


@parallel_task(n_jobs=2, backend="loky")
def ask(number: int, folder: str, workers: int = 2) -> list[Any]:
    """Ask for a Variable or for a connection once all workers are there, and tell which worker was told what."""
    from airflow.sdk import Connection, Variable

    meet(folder, workers)
    if number % 2:
        return [os.getpid(), Variable.get(f"number_{number % 50}", default="a wrong answer")]
    connection = Connection.get(f"number_{number % 50}")
    return [os.getpid(), f"{connection.host} {connection.schema} {connection.password}"]


@parallel_task(n_jobs=8, backend="multiprocessing")
def ask_forked(number: int, folder: str) -> list[Any]:
    """Do the same in a fork."""
    return ask.function(number, folder, workers=8)


def seconds() -> list[float]:
    """Seconds that a request takes: the quickest of a hundred, and the one in their middle."""
    from airflow.sdk.execution_time.comms import GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    times = []
    for _ in range(100):
        began = time.perf_counter()
        SUPERVISOR_COMMS.send(GetVariable(key="number_1"))
        times.append(time.perf_counter() - began)
    return [min(times), sorted(times)[50]]


@parallel_task(n_jobs=2, backend="loky", batch_size=1)
def measure(number: int) -> list[list[float]]:
    """Measure in one worker; the other has nothing to do."""
    return [seconds() for _ in range(3)] if number else []


@task
def timing() -> dict[str, list[list[float]]]:
    """Measure before, meanwhile and afterwards."""
    before = [seconds() for _ in range(3)]
    worker = measure.map([0, 1])[1]
    return {"task": before + [seconds() for _ in range(3)], "worker": worker}


@parallel_task(n_jobs=2, backend="loky")
def say_secret(number: int) -> str:
    """Ask for a password and print it."""
    from airflow.sdk import Connection

    password = Connection.get("number_0").password
    print(f"worker {number} has {password}")
    return str(password)[::-1]  # an XCom that is masked would show nothing


@parallel_task(n_jobs=2, backend="loky")
def address(_: int) -> str:
    """Where this run's relay listens."""
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    return str(SUPERVISOR_COMMS._address)


@task
def look_for_socket() -> list[bool]:
    """Whether the relay of a run that is over has left its folder."""
    return [Path(relay).parent.exists() for relay in set(address.map([1, 2]))]


@dag(schedule=None)
def many_requests() -> None:
    """One after another, so that no task waits for another's CPU."""
    timing() >> (asked := ask(list(range(1000)), FOLDER + "/fresh"))
    asked >> (forked := ask_forked(list(range(1000)), FOLDER + "/forked"))
    forked >> (said := say_secret([1, 2]))
    said >> look_for_socket()


many_requests()
