"""A DAG file whose top level changes the process: what the standard library does, its signals and its limits."""

import gc
import json
import logging
import random
import signal
import socket
import sys
import threading
import time
from typing import Any

from airflow.sdk import Variable, dag, task

from airflow_joblib import parallel_task


def to_text(_: json.JSONEncoder, value: object) -> str:
    """Make a text of whatever JSON has no word for."""
    return str(value)


json.JSONEncoder.default = to_text  # type: ignore[method-assign]
socket.setdefaulttimeout(2)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
sys.setrecursionlimit(20_000)
threading.stack_size(1 << 18)
gc.disable()
random.seed(1)


class Slow:
    """An object that a result must not be, though JSON now has a word for it."""


def work(number: int) -> tuple[int, str]:
    """Ask, wait longer than the sockets' time-out, log, and ask again."""
    before = Variable.get("started")
    if number == 1:
        time.sleep(3)
    logging.getLogger("patched").info("number %d", number)
    return number, before + Variable.get("started")


@dag(schedule=None)
def patched() -> None:
    """Run the same on forked workers, on fresh ones, and on threads."""

    @task
    def right(*results: Any) -> bool:
        expected = [(number, "hellohello") for number in range(4)]
        return all([tuple(row) for row in found] == expected for found in results)

    @parallel_task(n_jobs=2, max_failures=1, backend="threading")
    def refused(number: int) -> object:
        return Slow() if number else number

    backends = ("auto", "loky", "threading")
    calls = [
        parallel_task(n_jobs=2, backend=backend, task_id=f"work_{backend}")(work)(range(4)) for backend in backends
    ]
    right(*calls)
    refused([0, 1])


patched()
