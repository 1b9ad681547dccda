"""The workers of an asynchronous function, each of which has as many items under way as may run on its event loop.

::

    chunk ─► a worker that has room ─► its items run together, the next one as another ends
                     ▲                            │
                     └──── report of those that have ended since the last one, whatever chunk they came with

A worker gets a few more items than run at a time, so that it has some while its report is on the way.
"""

from __future__ import annotations

import queue
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import WATCH
from airflow_joblib.wire.chunk import ItemChunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.records import Report

__all__ = ["AsyncPool", "Ended", "Event", "Joined", "LoopWorker", "Reported"]

#: Seconds of a worker's work that it has beyond what runs.
_AHEAD = 0.05
#: What it has beyond that at least, as a part of what runs, and at most, as a multiple.
_LEAST_PART, _MOST_TIMES = 4, 4


def _capacity(concurrency: int, rate: float) -> int:
    """Return how many items a worker has at most: those that run, which end at so many a second, and a few more."""
    return concurrency + max(1, concurrency // _LEAST_PART, min(int(rate * _AHEAD), _MOST_TIMES * concurrency))


class LoopWorker:
    """One worker, as the task sees it.

    Attributes:
        outstanding: Its items that have not ended, by their position in the input.
        rate: Items that it ends in a second.
        pid: Its process.
    """

    def __init__(self, pid: int = 0) -> None:
        self.pid = pid
        self.outstanding: dict[int, Any] = {}
        self.rate = 0.0

    def send(self, chunk: ItemChunk, *, alone: bool) -> None:
        """Hand a chunk over, whose one item is to have a report of its own if *alone* is true."""
        raise NotImplementedError

    def load(self, data: Any, chunk: ItemChunk) -> Report:
        """Return what came as a report about the items of a chunk."""
        raise NotImplementedError

    def end(self) -> None:
        """Let it know that nothing more comes."""
        raise NotImplementedError


class Joined(NamedTuple):
    """A worker is there."""

    worker: LoopWorker


class Reported(NamedTuple):
    """A worker has reported of the items at some positions."""

    worker: LoopWorker
    indices: Sequence[int]
    data: Any


class Ended(NamedTuple):
    """A worker sends nothing any more."""

    worker: LoopWorker


Event = Joined | Reported | Ended


class AsyncPool:
    """Workers of an asynchronous function. A context manager.

    Args:
        n_jobs: How many.
        concurrency: Items that each runs at a time.
        packer: Pickles items that go back; None where nothing is pickled.
    """

    starting = 0.0

    def __init__(self, n_jobs: int, concurrency: int, packer: Any) -> None:
        self.n_jobs = n_jobs
        self._concurrency = concurrency
        self._packer = packer
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._workers: list[LoopWorker] = []
        self._waiting: deque[ItemChunk] = deque()
        self._alone: set[int] = set()
        self._left = 0
        self._looked = clock.now()

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        raise NotImplementedError

    @property
    def under_way(self) -> int:
        """Items handed over that have not been reported."""
        return self._left

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be handed over now."""
        rates = [worker.rate for worker in self._workers] + [0.0] * (self.n_jobs - len(self._workers))
        return self._left < sum(_capacity(self._concurrency, rate) for rate in rates)

    def submit(self, chunk: ItemChunk) -> None:
        """Hand a chunk over."""
        self._left += len(chunk.indices)
        self._waiting.append(chunk)
        self._distribute()

    def _distribute(self) -> None:
        """Give what waits to the workers that have the most room."""
        while self._waiting and self._workers:
            worker = max(self._workers, key=self._room)
            room, starting = self._room(worker), len(self._workers) < self.n_jobs
            if room <= 0 or (starting and worker.outstanding and len(self._waiting[0].indices) > room):
                return
            chunk = self._waiting.popleft()
            worker.outstanding.update(zip(chunk.indices, chunk.items, strict=True))
            worker.send(chunk, alone=chunk.indices[0] in self._alone)

    def _room(self, worker: LoopWorker) -> int:
        room = _capacity(self._concurrency, worker.rate)
        if len(self._workers) < self.n_jobs:  # those that are still starting are to have their share
            room = min(room, -(-self._left // self.n_jobs))
        return room - len(worker.outstanding)

    def next_report(
        self, check: Callable[[], None] = lambda: None, until: float | None = None
    ) -> tuple[ItemChunk, Report] | None:
        """Wait for the next report; gives the items that it is about as a chunk, and the report itself.

        Args:
            check: Called about twice a second; it may raise.
            until: When to give up and return None, by the monotonic clock.
        """
        while True:
            now = clock.now()
            if now - self._looked > WATCH:
                self._looked = now
                check()
                self._look_after_workers()
            if until is not None and now >= until:
                return None
            wait = WATCH if until is None else min(WATCH, until - now)
            try:
                event = self._events.get(timeout=wait)
            except queue.Empty:
                if not self._left:
                    return None
                continue
            taken = self._take(event)
            if taken is not None:
                return taken

    def _take(self, event: Event) -> tuple[ItemChunk, Report] | None:
        if isinstance(event, Reported):
            return self._reported(event)
        if isinstance(event, Joined):
            self._workers.append(event.worker)
            self._distribute()
        else:
            self._ended(event.worker)
        return None

    def _reported(self, event: Reported) -> tuple[ItemChunk, Report]:
        worker, indices = event.worker, event.indices
        chunk = ItemChunk(indices, [worker.outstanding.pop(index) for index in indices], self._packer)
        report = worker.load(event.data, chunk)
        self._left -= len(indices)
        if report.unreadable:  # they come again one by one, and so must their reports
            self._alone.update(indices)
        if report.seconds > 0:
            worker.rate = len(indices) / report.seconds
        self._distribute()
        return chunk, report

    def _ended(self, worker: LoopWorker) -> None:
        """See to a worker that sends nothing any more."""
        if worker in self._workers:
            self._workers.remove(worker)

    def _look_after_workers(self) -> None:
        """See to workers that are gone, or that must be ended."""
