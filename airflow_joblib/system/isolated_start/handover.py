"""How a fresh worker gets what it needs: only once nobody else of its user can look into it.

::

    task                                            worker
      │ ── exec: one socket, and what an interpreter needs of the environment ──► │
      │ ◄───────────────────────────────────────── ready ──────────────────────── │  closed to others, as the task is
      │ ── the environment, descriptors ────────────────────────────────────────► │
      │ ── what loky has for a worker ──────────────────────────────────────────► │  read by loky's own program

A program that was just started can be looked into by its user's other processes, whatever the task is like: its
environment, and the pipes that it has open. A socket can't be opened through ``/proc``.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_joblib.system import isolation
from airflow_joblib.system.isolated_start.process import CLOSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["hand_over", "read", "take_over"]

_LENGTH = 8


def hand_over(line: socket.socket, environment: Mapping[str, str], files: Mapping[int, int], data: bytes) -> None:
    """Give a worker what it needs as soon as it is ready, in a thread of its own.

    Args:
        line: The line to the worker.
        environment: Its environment.
        files: Descriptors of this process, by the numbers that they have there; they are closed.
        data: What comes after that.
    """
    threading.Thread(
        target=_hand_over, args=(line, environment, files, data), name="airflow-joblib start", daemon=True
    ).start()


def _hand_over(line: socket.socket, environment: Mapping[str, str], files: Mapping[int, int], data: bytes) -> None:
    try:
        with line, suppress(OSError):  # the worker has ended
            if line.recv(1):
                header = marshal.dumps([dict(environment), list(files)])
                socket.send_fds(line, [len(header).to_bytes(_LENGTH, "big")], list(files.values()))
                line.sendall(header)
                line.sendall(data)
    finally:
        for file in files.values():
            os.close(file)


def take_over(number: int, how: str) -> None:
    """Become a worker in a process that was just started: the other side of :func:`hand_over`.

    Args:
        number: The descriptor of the line to the task, which stays open for what comes after that.
        how: What the task requires of it.
    """
    if how == CLOSED:
        isolation.close_to_others()
    line = socket.socket(fileno=number)
    try:
        line.sendall(b"r")
        length, files, _, _ = socket.recv_fds(line, _LENGTH, 250)
        environment, numbers = marshal.loads(read(line, int.from_bytes(length, "big")))  # noqa: S302 - from the task
    finally:
        line.detach()
    os.environ.clear()
    os.environ.update(environment)
    _place(files, numbers, number)


def read(line: socket.socket, size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: The other side has ended before.
    """
    found = bytearray()
    while len(found) < size:
        part = line.recv(size - len(found))
        if not part:
            raise EOFError("the other side has ended")
        found += part
    return bytes(found)


def _place(files: Sequence[int], numbers: Sequence[int], line: int) -> None:
    """Give descriptors the numbers by which they go; in two steps, as one may have another's."""
    above = 1 + max(line, *numbers)
    waiting = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, above) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(waiting, numbers, strict=True):
        os.dup2(file, number, inheritable=False)
        os.close(file)
