"""Hands tasks to forked workers and takes what they return.

::

    submit ──► one socket for all workers, which keeps messages apart: whoever is free takes the next one
                   │ large messages are memory that goes along as a descriptor
                   ▼
    worker ──► its own line: the ticket that it took, then what the task returned ──► a thread here ──► callback

No lock is shared, so nobody can die with one. What a worker that died had taken is known by its ticket.
"""

from __future__ import annotations

import fcntl
import functools
import os
import pickle
import selectors
import socket
import struct
import termios
import threading
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING

from airflow_joblib.pools.shutdown import ended
from airflow_joblib.pools.template import read_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.pools.template import Template

__all__ = ["Executor", "ForkedWorker", "WorkerDiedError", "work"]

_TICKET = struct.Struct("q")
#: What a worker sends once it has started.
_READY = -1
#: Bytes of a message that go through the socket itself, of which it holds some 200,000.
_INLINE = 512
#: Seconds that a message waits for room in the socket: there is some unless no worker takes any.
_NO_ROOM = 5.0


class WorkerDiedError(BrokenExecutor):
    """A worker ended before it had returned what its task gives. Strictly private.

    Attributes:
        worker: The worker.
    """

    def __init__(self, worker: ForkedWorker) -> None:
        super().__init__(f"worker {worker.pid} has ended")
        self.worker = worker


class ForkedWorker:
    """A forked worker, as the task sees it: much like a process of :mod:`multiprocessing`.

    Attributes:
        pid: Its process id.
        sentinel: A descriptor that becomes readable when it ends.
        line: Where it reports what it took, and the outcome.
        ticket: Of the task that it has taken; None between two, negative until it has started.
    """

    def __init__(self, pid: int, sentinel: int, line: connection.Connection) -> None:
        self.pid = pid
        self.sentinel = sentinel
        self.line = line
        self.ticket: int | None = _READY
        self._code: int | None = None

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._code is None and ended([self.sentinel], 0):
            number = read_number(self.sentinel)
            self._code = 255 if number is None else number  # the template has ended, and with it all of its workers
        return self._code

    def terminate(self) -> None:
        """Ask it to end."""
        if self.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, 15)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, so many seconds at most."""
        if self._code is None:
            ended([self.sentinel], timeout)

    def close(self) -> None:
        """Let go of it, once it has ended."""
        self.line.close()
        os.close(self.sentinel)


class Executor:
    """Forked workers, and what they have to do.

    A worker is forked when there is a task for it, as in :mod:`concurrent.futures`: the first one is at work while the
    others are forked.

    Args:
        template: Forks them.
        most: How many.
        start: The first message of each: what it runs before it takes a task, given *shared*, and what after the last.
        shared: Descriptors that each gets.
    """

    def __init__(self, template: Template, most: int, start: bytes, shared: Sequence[int] = ()) -> None:
        self._template = template
        self._most = most
        self._start = start
        self._shared = shared
        self._tasks, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._tasks.settimeout(_NO_ROOM)
        self._futures: dict[int, Future[bytes]] = {}
        self._count = 0
        self._closed = False
        self.workers: dict[int, ForkedWorker] = {}
        self.idle_deaths: list[ForkedWorker] = []
        self._gone: list[ForkedWorker] = []
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = connection.Pipe(duplex=False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._reader = threading.Thread(target=self._read, name="airflow-joblib reports", daemon=True)

    def grow(self) -> None:
        """Fork another worker."""
        ours, theirs = connection.Pipe()
        try:
            with theirs:
                pid, sentinel = self._template.fork([self._theirs.fileno(), theirs.fileno(), *self._shared])
        except BaseException:
            ours.close()
            raise
        worker = self.workers[pid] = ForkedWorker(pid, sentinel, ours)
        with suppress(BrokenPipeError):  # it has ended already, which its status shows
            ours.send_bytes(self._start)
        self._selector.register(ours, selectors.EVENT_READ, functools.partial(self._take, worker))
        self._selector.register(worker.sentinel, selectors.EVENT_READ, functools.partial(self._lose, worker))
        if self._reader.ident is None:
            self._reader.start()
        else:
            self._wake.send_bytes(b"")  # a selector that waits does not see what is new everywhere

    @property
    def waits_in_vain(self) -> bool:
        """Whether all workers have started and have no task, and none is waiting for them, though not all are done."""
        idle = all(worker.ticket is None for worker in self.workers.values())
        unread = fcntl.ioctl(self._theirs, termios.FIONREAD, bytes(4))
        return bool(self._futures) and idle and not any(unread)

    def drop_tasks(self) -> None:
        """Expect no result of what was handed over so far."""
        self._futures.clear()

    def submit(self, task: Callable[[], bytes]) -> Future[bytes]:
        """Hand a task over, and fork another worker unless there are as many as there may be.

        Gives a future, whose result is the bytes that the task returns.

        Raises:
            TemplateLostError: The template has ended.
            OSError: The machine has no room for another process; or no worker takes any more.
        """
        ticket, self._count = self._count, self._count + 1
        future = self._futures[ticket] = Future()
        _send(self._tasks, pickle.dumps((ticket, task), pickle.HIGHEST_PROTOCOL))
        if len(self.workers) < self._most:
            self.grow()
        return future

    def close_tasks(self) -> None:
        """Let workers end once they have done what they have."""
        self._closed = True
        self._tasks.close()
        self._theirs.close()

    def shutdown(self) -> None:
        """Let go of everything. The workers have ended, or are ended with the template."""
        self.close_tasks()
        self._wake.close()
        if self._reader.ident is not None:
            self._reader.join()
        for worker in (*self.workers.values(), *self._gone):
            worker.close()
        self.workers.clear()
        self._selector.close()
        self._woken.close()

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    key.data()
                elif not self._was_woken():
                    return

    def _was_woken(self) -> bool:
        try:
            self._woken.recv_bytes()
        except EOFError:
            return False
        return True

    def _take(self, worker: ForkedWorker) -> bool:
        """Take the next message of a worker, a ticket and what the task of that ticket returned by turns, if any."""
        try:
            data = worker.line.recv_bytes()
        except (EOFError, OSError):
            self._ignore(worker.line)
            return False
        if worker.ticket is None:
            (worker.ticket,) = _TICKET.unpack(data)
        elif worker.ticket == _READY:
            worker.ticket = None
        else:
            future, worker.ticket = self._futures.pop(worker.ticket, None), None
            if future is not None:  # its chunk has been sent again
                future.set_result(data)
        return True

    def _lose(self, worker: ForkedWorker) -> None:
        """Take note of the end of a worker, once all is taken that it sent; what it started may hold its line open."""
        self._ignore(worker.sentinel)
        while worker.line in self._selector.get_map() and worker.line.poll(0) and self._take(worker):
            pass
        self._ignore(worker.line)
        if self._closed:
            return
        future = self._futures.pop(-1 if worker.ticket is None else worker.ticket, None)
        if future is None:
            self.idle_deaths.append(worker)
        else:
            future.set_exception(WorkerDiedError(worker))

    def _ignore(self, file: connection.Connection | int) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def forget(self, worker: ForkedWorker) -> None:
        """Count a worker that has ended no longer."""
        if self.workers.pop(worker.pid, None) is not None:
            self._gone.append(worker)


def _send(tasks: socket.socket, message: bytes) -> None:
    if len(message) <= _INLINE:
        tasks.sendall(message)
        return
    memory = os.memfd_create("airflow-joblib-chunk")
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(message)
        socket.send_fds(tasks, [b"M"], [memory])
    finally:
        os.close(memory)


# In a worker


def work(tasks_descriptor: int, line_descriptor: int, *shared: int) -> None:
    """Be a worker: start, then take tasks until there are none, and leave."""
    with connection.Connection(line_descriptor) as line, socket.socket(fileno=tasks_descriptor) as tasks:
        tasks.settimeout(None)  # whatever socket.setdefaulttimeout() was
        start, leave = pickle.loads(line.recv_bytes())  # noqa: S301 - the task made it
        start(*shared)
        line.send_bytes(_TICKET.pack(_READY))
        worker = os.getpid()
        while (message := _next(tasks)) is not None:
            ticket, task = message
            line.send_bytes(_TICKET.pack(ticket))
            result = task()
            if os.getpid() != worker:
                os._exit(0)  # a process that an item has forked, and that came back from it: the worker answers
            line.send_bytes(result)
        leave()


def _next(tasks: socket.socket) -> tuple[int, Callable[[], bytes]] | None:
    data, descriptors, _, _ = socket.recv_fds(tasks, _INLINE, 1)
    if not data:
        return None
    if not descriptors:
        return pickle.loads(data)  # type: ignore[no-any-return]  # noqa: S301 - the task made it
    with open(descriptors[0], "rb") as file:  # noqa: PTH123 - a descriptor has no path
        file.seek(0)
        return pickle.load(file)  # type: ignore[no-any-return]  # noqa: S301
