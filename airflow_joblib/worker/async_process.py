"""A worker process of an asynchronous function: its event loop takes items from a connection of its own to the run.

::

    serve ─► a connection, one end of which the task is handed ─► positions, pickled items ─► AsyncWorker
                                                               ◄─ positions, pickled report ◄─┘

The connection is a pair of sockets without a name, so nobody else can have either end.
"""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import socket
from contextlib import nullcontext
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, cast

from airflow_joblib.system.shared_memory import Place
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.wire.records import Report
from airflow_joblib.worker import process
from airflow_joblib.worker.async_worker import Given
from airflow_joblib.worker.reports import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_joblib.worker.async_worker import AsyncWorker

__all__ = ["serve"]


def serve() -> bytes:
    """Run items as they come, and return an empty report when none comes any more."""
    state = process.own()
    assert state.payload is not None  # noqa: S101 - it was started
    with _connected(state.payload.connects) as line, process.at_work():
        report, feed = Report(-1, os.getpid()), _Feed(line)
        worker = cast("AsyncWorker | None", process.ready_worker(report))
        if worker is None:
            feed.send([], report)
        else:
            state.interrupt = worker.interrupt
            try:
                worker.serve(feed, feed.send, lambda: state.slot.halted)
            finally:
                state.interrupt = None
    return pack(Report(-1, os.getpid()), [])


def _connected(place: str) -> connection.Connection:
    """Return one end of a connection whose other end the task has been handed."""
    assert isinstance(place, Place)  # noqa: S101 - with the descriptor that this process was given
    ours, theirs = connection.Pipe()
    with theirs, socket.socket(fileno=os.dup(place.file)) as meeting:
        socket.send_fds(meeting, [str(os.getpid()).encode()], [theirs.fileno()])
    return ours


class _Feed:
    """Items and reports by way of a connection."""

    def __init__(self, line: connection.Connection) -> None:
        self._line = line
        self._slot = process.own().slot

    async def receive(self) -> Given | None:
        """Wait for a chunk."""
        loop = asyncio.get_running_loop()
        while not self._line.poll(0):
            arrived = asyncio.Event()
            loop.add_reader(self._line.fileno(), arrived.set)
            try:
                await arrived.wait()
            finally:
                loop.remove_reader(self._line.fileno())
        try:
            message = pickle.loads(self._line.recv_bytes())  # noqa: S301 - the task made it
        except EOFError:
            return None
        if message is None:
            return None
        indices, data, alone = message
        return Given(indices, functools.partial(self._load, indices, data), self.send if alone else None)

    def _load(self, indices: Sequence[int], data: bytes | None) -> Sequence[Any]:
        with self._slot.with_chunk(indices[0]):
            return process.inherited_items(indices) if data is None else load_items(data)

    def send(self, indices: Sequence[int], report: Report) -> None:
        """Send a report."""
        with self._slot.with_chunk(indices[0]) if indices else nullcontext():
            data = pack(report, indices)
        self._line.send_bytes(pickle.dumps((indices, data), pickle.HIGHEST_PROTOCOL))
