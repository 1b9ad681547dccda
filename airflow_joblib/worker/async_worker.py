"""A worker of an asynchronous function: an event loop on which its items run together.

::

    chunk ─► add ─► AsyncItems ─► Collector ─► report, every few milliseconds, of what has ended
                        ▲    └──► AsyncChunk ─► report of one chunk, where the run wants that
    resources entered on the same loop, and left on it

:meth:`AsyncWorker.serve` takes further items as others end. Where a backend gives a worker one chunk after another,
:meth:`AsyncWorker.run` runs a chunk to its end.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import GRACE
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.records import ItemError, Report
from airflow_joblib.wire.status_board import INDEX, RESOURCES, Held
from airflow_joblib.worker.async_chunk import AsyncChunk, AsyncChunks
from airflow_joblib.worker.async_items import AsyncItems
from airflow_joblib.worker.collector import Collector, TimeTold
from airflow_joblib.worker.rate_gate import RateGate
from airflow_joblib.worker.reports import unread
from airflow_joblib.worker.steps import Stepping
from airflow_joblib.worker.worker import Worker, from_user, put_around

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from airflow_joblib.wire.records import Verdict

    #: Takes the positions of items, and the report about them.
    Send = Callable[[Sequence[int], Report], object]

__all__ = ["AsyncWorker", "Feed", "Given"]

#: Seconds between two looks around, and two reports: what has ended is reported together.
_LOOK = 0.01


class Given(NamedTuple):
    """Items that a worker is given.

    Attributes:
        indices: Their positions in the input.
        load: Loads them.
        done: Takes the report of these items alone, with the positions of those that have ended; None where they are
            reported with others.
        taken: Called as soon as the worker has room for other items.
    """

    indices: Sequence[int]
    load: Callable[[], Sequence[Any]]
    done: Send | None = None
    taken: Callable[[], object] = bool


class Feed(Protocol):
    """Where a worker's items come from."""

    async def receive(self) -> Given | None:
        """Wait for items; None where none come any more."""
        ...


class AsyncWorker(Worker):
    """One worker of an asynchronous function. What it takes is what a :class:`Worker` takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = None if self._rate is None else RateGate(self._rate)
        self._told = TimeTold()
        self._collector = Collector(self._gate, self._told)
        self._exit = AsyncExitStack()
        self._stepping: Stepping | None = None
        self._items: AsyncItems | None = None
        self._chunks = AsyncChunks()
        self._taken: list[Callable[[], object]] = []
        self._hands_back = False
        self._runner: asyncio.Runner | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._send: Send | None = None
        self._halted: Callable[[], bool] = bool
        self._main: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._error: BaseException | None = None

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=_loop_factory())
        try:
            return self._runner.run(work)
        except asyncio.CancelledError:
            error, self._error = self._error, None
            if error is not None:
                raise error from None
            raise

    def _break_off(self, error: BaseException) -> None:
        """End the loop with an error that is no item's failure: some items may never end."""
        self._error = self._error or error
        if self._main is not None:
            self._main.cancel()

    # One chunk after another

    def run(self, items: Sequence[Any], indices: Sequence[int], halted: Callable[[], bool] = bool) -> Report:
        """Run a chunk, or as much of it as starts until the rules or *halted* say that it is to be handed back.

        Args:
            items: The items.
            indices: Their positions in the input.
            halted: Looked at a hundred times a second.
        """
        report: Report = self._on_loop(self._chunk(items, indices, halted))
        return report

    async def _chunk(self, items: Sequence[Any], indices: Sequence[int], halted: Callable[[], bool]) -> Report:
        self._halted, self._hands_back, self._main = halted, True, asyncio.current_task()
        ended: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

        def done(_: Sequence[int], report: Report) -> None:
            if not ended.done():  # by an interruption
                ended.set_result(report)

        try:
            await self._start(Given(indices, lambda: items, done))
            return await ended
        except BaseException:
            if self._items is not None:
                await self._items.close(GRACE)
            raise

    # As others end

    def serve(
        self, feed: Feed, send: Send | None, halted: Callable[[], bool] = bool, *, hands_back: bool = False
    ) -> None:
        """Run what comes, until nothing comes any more.

        Args:
            feed: Where items come from.
            send: Takes the positions of items, and the report about them; None where all have reports of their own.
            halted: Whether no further item may start now; looked at a hundred times a second while items end.
            hands_back: Whether items with a report of their own are then handed back, as they are when their time is
                over: others wait until they may start.
        """
        self._send, self._halted, self._hands_back = send, halted, hands_back
        try:
            self._on_loop(self._serve(feed))
        except asyncio.CancelledError:
            if not self._interrupted:
                raise

    async def _serve(self, feed: Feed) -> None:
        self._main = asyncio.current_task()
        while (chunk := await feed.receive()) is not None:
            await self._start(chunk)
        if self._items is not None:
            await self._items.wait()
        self._report()

    async def _start(self, given: Given) -> None:
        indices, done = given.indices, given.done or self._send
        assert done is not None  # noqa: S101 - see serve
        running = await self._entered()
        if running is None or (given.done is not None and running.cancelled):
            done([], self._collector.take()[1])
            return
        try:
            items = given.load()
        except Exception as error:  # noqa: BLE001 - loading runs code of the user
            done(indices, unread(Report(indices[0], os.getpid()), error, len(indices), self))
            return
        if given.done is not None:
            self._chunks.add(AsyncChunk(indices, Collector(self._gate, self._told), given.done))
            self._taken.append(given.taken)
        elif not running.busy and not self._collector.indices:
            self._collector.begin()  # what was waited for items is nobody's time
        running.add(indices, items)
        self._look_for_room(running)
        if self._timer is None:
            self._tick()

    def _item_ended(self, index: int, value: object, seconds: float) -> None:
        chunk = self._chunks.of(index)
        if chunk is None:
            self._collector.add(index, value, seconds)
        else:
            chunk.collector.add(index, value, seconds)
            self._chunks.take_out(chunk, [index])

    def _item_failed(self, error: BaseException, index: int, seconds: float) -> bool:
        chunk = self._chunks.of(index)
        collector = self._collector if chunk is None else chunk.collector
        goes_on = self._failed(collector.report, error, index, seconds)
        collector.note(index, seconds)
        if not goes_on and self._items is not None:
            self._report()
            self._ending = asyncio.get_running_loop().create_task(self._chunks.end(self._items, GRACE))
        elif chunk is not None:
            self._chunks.take_out(chunk, [index])
        return goes_on

    def _verdict(self, error: BaseException) -> Verdict:
        """Return what an exception means, of which a cancellation is the item's own: the run's is no failure."""
        return "retry" if isinstance(error, asyncio.CancelledError) else super()._verdict(error)

    def _tick(self) -> None:
        """Report now and then as long as anything runs."""
        items = self._items
        if items is None:
            return
        try:
            self._report()
            self._look_around(items)
        except BaseException as error:  # noqa: BLE001 - the loop would only log it
            self._break_off(error)
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._tick) if items.busy else None

    def _look_around(self, items: AsyncItems) -> None:
        halted = self._halted()
        if not self._hands_back:
            items.hold(on=halted)
        elif halted:
            self._chunks.hand_all_back(items)
        else:
            self._chunks.hand_back(items, self._rules.seconds)
        self._look_for_room(items)

    def _look_for_room(self, items: AsyncItems) -> None:
        """Tell who gave chunks of their own as soon as less waits than runs."""
        while self._taken and items.waiting < self._rules.concurrency:
            self._taken.pop()()

    def _report(self) -> None:
        if self._collector.indices:
            assert self._send is not None  # noqa: S101 - else each chunk has a report of its own
            self._send(*self._collector.take())

    def interrupt(self) -> None:
        """End what runs, from a signal's handler or another thread: the run is over, and :meth:`close` follows."""
        self._interrupted = True
        runner, main = self._runner, self._main
        if runner is not None and main is not None:
            with suppress(RuntimeError):  # the loop is closed
                runner.get_loop().call_soon_threadsafe(main.cancel)

    # Resources

    async def _entered(self) -> AsyncItems | None:
        """Enter the resources, once, and return what runs items; None where one could not be entered."""
        if self._items is None and self._refused is None:
            entered: dict[str, Any] = {}
            for name, factory in self._call.factories.items():
                try:
                    entered[name] = await self._enter_one(factory(**self._call.factory_arguments(factory)))
                except self._catch as error:  # handed on as it is
                    self._refused = ItemError(-1, from_user(error), resource=name, verdict="end")
                    break
            else:
                function = put_around(self._call.of_item(entered))
                name, limit = function_name(self._call.function), self._rules.timeout
                self._stepping = Stepping(function, name, self._row, limit)
                self._items = AsyncItems(
                    self._rules.concurrency,
                    self._stepping,
                    self._item_ended,
                    self._item_failed,
                    self._report,
                    broken=self._break_off,
                    gate=self._gate,
                )
        if self._refused is not None:
            self._collector.report.failures.append(self._refused)
        return self._items

    async def _enter_one(self, resource: Any) -> Any:
        if isinstance(resource, AbstractAsyncContextManager):  # first: some have both, one of which only raises
            resource = await self._exit.enter_async_context(resource)
        elif isinstance(resource, AbstractContextManager):
            resource = self._exit.enter_context(resource)
        else:
            return resource
        self._row[RESOURCES] = Held.HELD
        return resource

    def _leave_resources(self) -> None:
        """Leave them on the loop that has entered them."""
        self._row[INDEX] = 0
        try:
            self._on_loop(self._leave())
        finally:
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.close()

    async def _leave(self) -> None:
        if self._items is not None:
            await self._items.close(GRACE)
        self._items = None
        await self._exit.aclose()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: the usual one, unless its clock stands still, as in a test that stops the time."""
    return _OwnClock if clock.stands_still(time.monotonic) else None


class _OwnClock(asyncio.SelectorEventLoop):
    """An event loop that goes by a clock which nobody stops."""

    def time(self) -> float:
        return clock.now()
