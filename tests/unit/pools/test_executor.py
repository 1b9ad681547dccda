"""What hands tasks to forked workers."""

from __future__ import annotations

import errno
import functools
import os
import pickle
import socket
import struct
import sys
from multiprocessing import connection
from typing import Any

import pytest

from airflow_joblib.pools.executor import Executor, ForkedWorker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")


def test_more_tasks_than_the_socket_holds() -> None:
    """They are sent as room is made, in their order: many workers with slow items leave hundreds waiting."""
    template: Any = None
    executor = Executor(template, 0, b"")
    sizes = [1, 400, 100_000]  # a large one goes as memory, and needs a place all the same
    tasks = [functools.partial(bytes, bytes(sizes[number % 3])) for number in range(300)]
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
        executor.send()  # as the ticket of whoever has taken it leads to
    assert taken == [(number, task.args) for number, task in enumerate(tasks)]
    executor.shutdown()


def test_no_descriptor_for_a_large_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that takes reports goes on, the run has the error, and the task is sent once there is one."""
    template: Any = None
    executor = Executor(template, 0, b"")
    ours, theirs = connection.Pipe()
    worker = ForkedWorker(0, 0, ours)
    worker.ticket = None
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", no_descriptor)
        with pytest.raises(OSError, match="Too many open files"):
            executor.submit(functools.partial(bytes, bytes(10_000)))
        theirs.send_bytes(struct.pack("q", 7))
        assert executor._take(worker)
        assert worker.ticket == 7
    executor.send()
    _, descriptors, _, _ = socket.recv_fds(executor._theirs, 512, 1)
    assert len(descriptors) == 1
    for line in (ours, theirs):
        line.close()
    os.close(descriptors[0])
    executor.shutdown()


def no_descriptor(*_: object) -> int:
    """Do what the kernel does where a process has as many as it may have."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
