"""The items of an asynchronous function: so many at a time on one event loop, the next one as another ends.

::

    add ─► todo ─► runner ─► await function(item) ─► ended, or failed
             ▲      │
             └──────┘  one runner for each place, made when it is first needed

A runner is one task of asyncio for all items of its place: to make a task for each item takes as long as a quick item.
asyncio's own cancellation is used, which comes once: ``await`` works in an item's ``finally``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ItemTimeoutError
from airflow_joblib.system.clock import for_loops
from airflow_joblib.system.time_limits import BEYOND
from airflow_joblib.worker.steps import Stepping, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from airflow_joblib.worker.rate_gate import RateGate

__all__ = ["AsyncItems"]


class AsyncItems:
    """Runs items on the event loop that is running.

    Args:
        concurrency: How many run at a time, at most.
        stepping: What shows which item runs.
        ended: Takes the position, the result and the seconds of an item.
        failed: Takes the exception, the position and the seconds of one that raised; returns whether others may start.
        idled: Called when no item runs any more.
        broken: Takes what else was raised, after which some items may never end.
        gate: Where each item waits for its start, one by one; None where it may start at any time.

    Attributes:
        halted: Whether no further item may start.
        cancelled: Whether none will, since what ran was cancelled.
    """

    def __init__(  # noqa: PLR0913 - what a loop needs
        self,
        concurrency: int,
        stepping: Stepping,
        ended: Callable[[int, Any, float], object],
        failed: Callable[[BaseException, int, float], bool],
        idled: Callable[[], object],
        *,
        broken: Callable[[BaseException], object],
        gate: RateGate | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._stepping = stepping
        self._ended = ended
        self._failed = failed
        self._idled = idled
        self._broken = broken
        self._gate = gate
        self._context = contextvars.copy_context()
        self._todo: deque[tuple[int, Any]] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self.cancelled = False
        self._empty = asyncio.Event()
        self.halted = False

    def add(self, indices: Sequence[int], items: Iterable[Any]) -> None:
        """Have items run, by their position in the input."""
        self._empty.clear()
        self._todo.extend(zip(indices, items, strict=True))
        wanted = len(self._todo)
        while wanted and self._idle:
            wanted -= 1
            self._wake(self._idle.popleft())
        loop = asyncio.get_running_loop()
        for _ in range(min(wanted, self._concurrency - len(self._runners))):
            runner = loop.create_task(self._run(), context=self._context.copy())
            self._runners.add(runner)
            runner.add_done_callback(self._runner_ended)

    def _runner_ended(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled() and (error := runner.exception()) is not None:  # not of an item: that is its failure
            self._broken(error)

    @staticmethod
    def _wake(runner: asyncio.Future[None]) -> None:
        if not runner.done():
            runner.set_result(None)

    @property
    def busy(self) -> bool:
        """Whether an item runs, or is to run."""
        return len(self._idle) < len(self._runners) or bool(self._todo)

    def hold(self, *, on: bool) -> None:
        """Start no further item, or with *on* False go on."""
        if not self.cancelled:
            released, self.halted = self.halted and not on, on
            while released and self._idle:
                self._wake(self._idle.popleft())

    async def wait(self) -> None:
        """Wait until every item has ended, or none may start and those that run have ended."""
        while self.busy:
            await self._empty.wait()

    @property
    def waiting(self) -> int:
        """Items that have not started."""
        return len(self._todo)

    @property
    def next_index(self) -> int:
        """Position in the input of the item that starts next, -1 for none."""
        return self._todo[0][0] if self._todo else -1

    def drop(self, indices: Collection[int]) -> list[int]:
        """Forget those of these items that have not started, and return their positions in the input."""
        waiting = list(self._todo)
        self._todo.clear()
        self._todo.extend(one for one in waiting if one[0] not in indices)
        self._look()
        return [index for index, _ in waiting if index in indices]

    def cancel(self) -> None:
        """Cancel every item that runs, once, and start no other."""
        self._cancel_all_but(None)

    def _cancel_all_but(self, one: asyncio.Task[None] | None) -> None:
        if self.cancelled:
            return  # a second time would end what an item awaits as it cleans up
        self.halted = self.cancelled = True
        self._todo.clear()
        for runner in tuple(self._runners):
            if runner is not one:
                runner.cancel()

    async def close(self, seconds: float) -> None:
        """Cancel what runs, and give it so many seconds to end."""
        self.cancel()
        if self._runners:
            await asyncio.wait(tuple(self._runners), timeout=seconds)

    def _look(self) -> None:
        if not self.busy:
            self._empty.set()
            self._idled()

    def _wanted(self) -> bool:
        return bool(self._todo) and not self.halted

    async def _run(self) -> None:  # noqa: C901 - the loop that each item's cost depends on
        """Run one item after another, as long as there are any."""
        clock, todo, place = for_loops(), self._todo, _Place(self._stepping.timeout)
        limited, cancelling = place.limited, place.task.cancelling
        copy, stepping, ended, gate = self._context.copy, self._stepping, self._ended, self._gate
        while not self.cancelled:
            if self.halted or not todo:
                await self._next()
                continue
            if gate is not None and not await gate.enter(self._wanted):
                continue
            index, item = todo.popleft()
            began = clock()
            if limited:
                place.begin()
            try:
                value = await Steps(item, index, copy(), stepping)
            except BaseException as error:  # noqa: BLE001 - whatever an item raises is its own
                place.end()
                if self.cancelled and isinstance(error, asyncio.CancelledError | SystemExit):
                    break
                if not self._failed(place.reason(error), index, clock() - began):
                    self._cancel_all_but(place.task)  # this one's failure has ended the run
            else:
                if limited:
                    place.end()
                ended(index, value, clock() - began)
            if gate is not None:
                gate.leave()
            if cancelling() and not self.cancelled:
                await place.settle()

    async def _next(self) -> None:
        """Wait for more items."""
        waiting = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self._look()
        try:
            await waiting
        finally:
            if waiting in self._idle:
                self._idle.remove(waiting)


class _Place:
    """One of the places for an item, and the time limit of the item that has it.

    Attributes:
        task: The runner.
        limited: Whether there is a limit.
    """

    def __init__(self, limit: float | None) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a runner makes it
        self.task: asyncio.Task[None] = task
        self._limit = limit
        self.limited = limit is not None
        self._timer: asyncio.TimerHandle | None = None
        self._late = False

    def begin(self) -> None:
        """Begin with an item."""
        self._late = False
        self._timer = asyncio.get_running_loop().call_later(self._limit or 0.0, self._cancel)

    def _cancel(self) -> None:
        """Cancel the item, and once more if it goes on in spite of that."""
        self._late = True
        self.task.cancel()
        self._timer = asyncio.get_running_loop().call_later(BEYOND, self._cancel)

    def end(self) -> None:
        """End with an item."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reason(self, error: BaseException) -> BaseException:
        """Return what an item has failed with, which is its time limit where that has cancelled it."""
        if self._late and isinstance(error, asyncio.CancelledError):
            return ItemTimeoutError(self._limit or 0.0).with_traceback(error.__traceback__)
        return error

    async def settle(self) -> None:
        """Forget a cancellation that was meant for an item which has ended."""
        while self.task.cancelling():
            self.task.uncancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            while self.task.cancelling():
                self.task.uncancel()
