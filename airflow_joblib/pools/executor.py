"""Hands tasks to forked workers and takes what they return.

::

    submit ──► one socket for all workers, which keeps messages apart: whoever is free takes the next one
                   │ large messages are memory that goes along as a descriptor; what finds no room waits here
                   ▼
    worker ──► its own line: the ticket that it took, then what the task returned ──► a thread here ──► callback

No lock is shared, so nobody can die with one. What a worker that died had taken is known by its ticket.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import pickle
import selectors
import socket
import struct
import termios
import threading
from collections import deque
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING

from airflow_joblib.pools.shutdown import ended
from airflow_joblib.pools.template import read_number
from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.pools.template import Template

__all__ = ["Executor", "ForkedWorker", "WorkerDiedError", "work"]

log = logging.getLogger("airflow_joblib")

_TICKET = struct.Struct("q")
#: What a worker sends once it has started.
_READY = -1
#: Bytes of a message that go through the socket itself. Some forty messages of that size fill it.
_INLINE = 512
_NO_ROOM_FOR_WORKERS = "%d of %d workers run: the machine has no room for another process (%s)."


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

    Each task that is handed over has a worker forked, until there are all: the first one is at work while the others
    are forked.

    Args:
        template: Forks them.
        most: How many.
        start: The first message of each: what it runs before it takes a task, given *shared*, and what after the last.
        shared: Descriptors that each gets.

    Attributes:
        workers: Those that have not been seen to end, by process id.
        idle_deaths: Those that have ended between two tasks.
        forking: Seconds that it took to fork all but the first.
    """

    def __init__(self, template: Template, most: int, start: bytes, shared: Sequence[int] = ()) -> None:
        self._template = template
        self._most = most
        self._start = start
        self._shared = shared
        self._tasks, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._tasks.setblocking(False)  # noqa: FBT003 - the method's only argument
        self._unsent: deque[bytes] = deque()
        self._sending = threading.Lock()
        self.forking = 0.0
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

    @property
    def complete(self) -> bool:
        """Whether there are as many workers as there may be."""
        return len(self.workers) >= self._most

    def fill(self) -> None:
        """Fork another worker if there may be one more. Where the machine has no room for it, the others do the work.

        Raises:
            TemplateLostError: The template has ended.
            OSError: The machine has no room for the only one.
        """
        if self.complete:
            return
        began, first = clock.now(), not self.workers
        try:
            self._grow()
        except OSError as error:
            if first:
                raise
            log.warning(_NO_ROOM_FOR_WORKERS, len(self.workers), self._most, error.strerror)
            self._most = len(self.workers)
        self.forking += 0.0 if first else clock.now() - began

    def _grow(self) -> None:
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
        return bool(self._futures) and idle and not any(unread) and not self._unsent

    def drop_tasks(self) -> None:
        """Expect no result of what was handed over so far."""
        with self._sending:
            self._unsent.clear()
        self._futures.clear()

    def submit(self, task: Callable[[], bytes]) -> Future[bytes]:
        """Hand a task over, and see to it that there is a worker for it.

        Gives a future, whose result is the bytes that the task returns.

        Raises:
            TemplateLostError: The template has ended.
            OSError: The machine has no room for a process.
        """
        ticket, self._count = self._count, self._count + 1
        future = self._futures[ticket] = Future()
        self._unsent.append(pickle.dumps((ticket, task), pickle.HIGHEST_PROTOCOL))
        self.send()
        self.fill()
        return future

    def send(self) -> None:
        """Send what there is room for: the rest follows when a worker has taken a task, and so has made room.

        Raises:
            OSError: No descriptor is left for a large task.
        """
        with self._sending, suppress(BlockingIOError):
            while self._unsent and not self._closed:
                _send_message(self._tasks, self._unsent[0])
                self._unsent.popleft()

    def close_tasks(self) -> None:
        """Let workers end once they have done what they have."""
        with self._sending:
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
            with suppress(OSError):  # whoever looks after the workers tries again, and has the error
                self.send()
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


def _send_message(tasks: socket.socket, message: bytes) -> None:
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
        try:
            start, leave = pickle.loads(line.recv_bytes())  # noqa: S301 - the task made it
        except EOFError:  # the run was over before it was known to have this worker
            return
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
