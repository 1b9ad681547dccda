"""Hundreds of requests at once, from eight forked workers or two fresh ones; and how long one takes, apart."""

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
    """Ask for a Variable or for a connection once all workers are there, and tell which worker was told what.

    The first prints a password.
    """
    from airflow.sdk import Connection, Variable

    meet(folder, workers)
    if number % 2:
        return [os.getpid(), Variable.get(f"number_{number % 10}", default="a wrong answer")]
    connection = Connection.get(f"number_{number % 10}")
    if number == 0:
        print(f"a worker has {connection.password}")
    return [os.getpid(), f"{connection.host} {connection.schema} {connection.password}"]


@parallel_task(n_jobs=8, backend="multiprocessing")
def ask_forked(number: int, folder: str) -> list[Any]:
    """Do the same in a fork."""
    return ask.function(number, folder, workers=8)


def seconds() -> list[float]:
    """Seconds that a request takes: the quickest of thirty, and the one in their middle."""
    from airflow.sdk.execution_time.comms import GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    times = []
    for _ in range(30):
        began = time.perf_counter()
        SUPERVISOR_COMMS.send(GetVariable(key="number_1"))
        times.append(time.perf_counter() - began)
    return [min(times), sorted(times)[15]]


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


@parallel_task(n_jobs=2, backend="multiprocessing")
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
    asked = ask(list(range(300)), FOLDER + "/fresh")
    asked >> ask_forked(list(range(300)), FOLDER + "/forked") >> look_for_socket()


@dag(schedule=None)
def request_times() -> None:
    """How long a request takes, in the task and in a worker."""
    timing()


many_requests()
request_times()
