"""Event loops in worker processes of this machine, for an asynchronous function.

::

    ForkedPool or LokyPool ── starts, watches and ends processes, each of which serves until the run is over
    AsyncProcesses ── hands each its items by a connection of its own, and takes its reports
"""

from __future__ import annotations

import pickle
import queue
import socket
import threading
from contextlib import ExitStack, suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Self

from airflow_joblib.pools.async_pool import AsyncPool, Ended, Joined, LoopWorker, Reported
from airflow_joblib.pools.forked import ForkedPool
from airflow_joblib.pools.loky import LokyPool
from airflow_joblib.pools.watchdog import LostWorkersError
from airflow_joblib.system import clock
from airflow_joblib.system.shared_memory import Place
from airflow_joblib.system.time_limits import GRACE, LEAVING, WATCH
from airflow_joblib.wire.chunk import ItemChunk
from airflow_joblib.wire.records import load_report
from airflow_joblib.worker.async_process import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.pools.async_pool import Event
    from airflow_joblib.pools.base import Pool
    from airflow_joblib.wire.chunk import Packer
    from airflow_joblib.wire.records import Report

__all__ = ["AsyncProcesses", "ServingForks", "ServingLoky"]

#: Seconds of a look at what the pool knows.
_BRIEFLY = 1e-3
#: Bytes of what a worker says of itself as it hands over its connection.
_NAME = 64


class ServingForks(ForkedPool):
    """Forked workers, each of which serves until the run is over."""

    def _task(self, chunk: Any) -> Callable[[], bytes]:  # noqa: ARG002 - there is nothing in it
        return serve


class ServingLoky(LokyPool):
    """loky's workers, each of which serves until the run is over."""

    def _task(self, chunk: Any) -> Callable[[], bytes]:  # noqa: ARG002
        return serve


class AsyncProcesses(AsyncPool):
    """Event loops in processes.

    Args:
        make: Makes the pool of the processes, given where each hands over its connection.
        n_jobs: How many.
        concurrency: Items that each runs at a time.
        packer: Pickles items.
        inherited: How many of the first items the processes have already.
    """

    def __init__(
        self, make: Callable[[Place], Pool], n_jobs: int, concurrency: int, packer: Packer, inherited: int = 0
    ) -> None:
        super().__init__(n_jobs, concurrency, packer)
        self._make = make
        self._inherited = inherited
        self._served = 0
        self._gone: list[LoopWorker] = []
        self._loss: LostWorkersError | None = None
        self._lost_at = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            meetings = undo.enter_context(_Meetings(self._events, self._inherited))
            self._pool = undo.enter_context(self._make(meetings.place))
            for _ in range(self.n_jobs):
                self._serve()
            self._leave = undo.pop_all()
        return self

    @property
    def next_start(self) -> int:
        """When the bucket of the rate is full again (:mod:`airflow_joblib.worker.rate_limit`)."""
        return self._pool.next_start  # type: ignore[no-any-return, attr-defined]  # a pool of processes

    @next_start.setter
    def next_start(self, at: int) -> None:
        self._pool.next_start = at  # type: ignore[attr-defined]

    def _serve(self) -> None:
        """Have a worker serve, whichever is free."""
        self._pool.submit(ItemChunk([self._served], [None]))
        self._served += 1

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._leave:
            if kind is None:
                self._end_serving()
            else:
                raise error[0]  # type: ignore[misc]  # so that the pool ends its workers as after a failure

    def _end_serving(self) -> None:
        """Have every worker come to its end; what it holds is left as the pool ends."""
        for worker in self._workers:
            worker.end()
        until = clock.now() + LEAVING
        while self._pool.under_way and clock.now() < until:
            with suppress(queue.Empty):
                event = self._events.get_nowait()
                if isinstance(event, Joined):
                    event.worker.end()
            with suppress(LostWorkersError):
                self._pool.next_report(until=clock.now() + WATCH / 10)

    def _ended(self, worker: LoopWorker) -> None:
        """See to a worker that sends nothing any more: the pool knows why."""
        super()._ended(worker)
        self._gone.append(worker)
        self._looked = 0.0

    def _look_after_workers(self) -> None:
        """See to workers that are gone, once all has been taken that they had sent: their items run again."""
        if self._loss is None:
            try:
                self._pool.next_report(until=clock.now() + _BRIEFLY)
            except LostWorkersError as error:
                self._loss, self._lost_at = error, clock.now()
        lost = self._loss
        if lost is None:
            return
        pids = {dead.pid for dead in lost.dead}
        if any(worker.pid in pids for worker in self._workers) and clock.now() - self._lost_at < GRACE:
            self._looked = clock.now() - WATCH + _BRIEFLY
            return
        self._loss = None
        raise self._with_items(lost, pids)

    def _with_items(self, lost: LostWorkersError, pids: set[int]) -> LostWorkersError:
        """Return what was lost with workers: the items that they have not reported."""
        everything = [*self._workers, *self._gone]
        workers = [worker for worker in everything if worker.pid in pids] if lost.goes_on else everything
        chunks: list[Any] = []
        for worker in workers:
            (self._gone if worker in self._gone else self._workers).remove(worker)
            if indices := sorted(worker.outstanding):
                chunks.append(ItemChunk(indices, [worker.outstanding[index] for index in indices], self._packer))
        if not lost.goes_on:
            chunks += self._waiting
            self._waiting.clear()
        elif lost.unfinished:  # it had begun to serve; else its place is waiting for another
            self._serve()
        self._left -= sum(len(chunk.indices) for chunk in chunks)
        return LostWorkersError(lost.backend, lost.dead, chunks, goes_on=lost.goes_on)


class _Process(LoopWorker):
    """One worker process, at the other end of a connection."""

    def __init__(self, pid: int, line: connection.Connection, inherited: int) -> None:
        super().__init__(pid)
        self.line = line
        self._inherited = inherited
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A thread, since a worker whose loop is held up takes nothing, and the run has others to see to.
        self._sender = threading.Thread(target=self._send_all, name="airflow-joblib items", daemon=True)
        self._sender.start()

    def send(self, chunk: ItemChunk, *, alone: bool) -> None:
        """Hand a chunk over; items that the process has inherited by their positions alone."""
        data = None if chunk.indices[-1] < self._inherited else chunk.data
        self._messages.put((chunk.indices, data, alone))

    def end(self) -> None:
        """Let it know that nothing more comes."""
        self._messages.put(None)

    def load(self, data: Any, chunk: ItemChunk) -> Report:
        """Load a report."""
        return load_report(data, chunk)

    def _send_all(self) -> None:
        with suppress(OSError):  # it has ended, which the other end of the connection shows
            while True:
                message = self._messages.get()
                self.line.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
                if message is None:
                    return


class _Meetings:
    """Takes the connections that workers hand over, and what comes by them, in a thread. A context manager.

    Attributes:
        place: Where a worker hands over its connection.
    """

    def __init__(self, events: queue.SimpleQueue[Event], inherited: int) -> None:
        self._events = events
        self._inherited = inherited
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._woken, self._wake = connection.Pipe(duplex=False)
        self._workers: dict[connection.Connection, _Process] = {}
        self.place = Place("", self._theirs.fileno())
        self._thread = threading.Thread(target=self._read, name="airflow-joblib loops", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._thread.join()
        for worker in self._workers.values():
            worker.end()
        for file in (self._ours, self._theirs, self._woken):
            file.close()

    def _read(self) -> None:
        while True:
            for ready in connection.wait([self._ours, self._woken, *self._workers]):
                if ready is self._woken:
                    return
                if ready is self._ours:
                    self._meet()
                else:
                    self._take(self._workers[ready])  # type: ignore[index]  # a connection, as the others are above

    def _meet(self) -> None:
        name, (descriptor,), _, _ = socket.recv_fds(self._ours, _NAME, 1)
        line = connection.Connection(descriptor)
        worker = self._workers[line] = _Process(int(name), line, self._inherited)
        self._events.put(Joined(worker))

    def _take(self, worker: _Process) -> None:
        try:
            indices, data = pickle.loads(worker.line.recv_bytes())  # noqa: S301 - the worker made it
        except (EOFError, OSError):
            del self._workers[worker.line]
            worker.end()
            self._events.put(Ended(worker))
            return
        self._events.put(Reported(worker, indices, data))
