"""What hands tasks to forked workers."""

from __future__ import annotations

import functools
import pickle
import socket
import sys
from typing import Any

import pytest

from airflow_joblib.pools.executor import Executor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")


def test_more_tasks_than_the_socket_holds() -> None:
    """They are sent as room is made, in their order: many workers with slow items leave hundreds waiting."""
    template: Any = None
    executor = Executor(template, 0, b"")
    sizes = [1, 400, 100_000]  # a large one goes as memory, and needs a place all the same
    tasks = [functools.partial(bytes, sizes[number % 3]) for number in range(300)]
    for task in tasks:
        executor.submit(task)
    taken: list[tuple[int, Any]] = []
    while len(taken) < 300:
        data, descriptors, _, _ = socket.recv_fds(executor._theirs, 512, 1)
        if descriptors:
            with open(descriptors[0], "rb") as file:  # noqa: PTH123 - a descriptor has no path
                file.seek(0)
                data = file.read()
        ticket, task = pickle.loads(data)
        taken.append((ticket, task.args))
        executor._send()  # as the ticket of whoever has taken it leads to
    assert taken == [(number, task.args) for number, task in enumerate(tasks)]
    executor.shutdown()
