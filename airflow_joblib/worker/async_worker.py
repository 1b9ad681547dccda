"""A worker of an asynchronous function: an event loop on which its items run together.

::

    chunk ─► add ─► AsyncItems ─► Collector ─► report, every few milliseconds, of what has ended
                        ▲
    resources entered on the same loop, and left on it

Where a backend takes one chunk after another, :meth:`AsyncWorker.run` runs a chunk to its end; where a worker has a
connection to the run, :meth:`AsyncWorker.serve` takes further items as others end.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import GRACE
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.records import ItemError, Report
from airflow_joblib.wire.status_board import INDEX, RESOURCES, Held
from airflow_joblib.worker.async_items import AsyncItems
from airflow_joblib.worker.collector import Collector
from airflow_joblib.worker.rate_gate import RateGate
from airflow_joblib.worker.reports import unread
from airflow_joblib.worker.steps import Stepping
from airflow_joblib.worker.worker import Worker, from_user, put_around

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from airflow_joblib.wire.records import Verdict

__all__ = ["AsyncWorker", "Feed", "Given"]

#: Seconds between two looks around, and two reports: what has ended is reported together.
_LOOK = 0.01


class Given(NamedTuple):
    """Items that a worker is given.

    Attributes:
        indices: Their positions in the input.
        load: Loads them.
        alone: Whether the one item is to have a report of its own.
    """

    indices: Sequence[int]
    load: Callable[[], Sequence[Any]]
    alone: bool = False


class Feed(Protocol):
    """Where a worker's items come from, and its reports go to."""

    async def receive(self) -> Given | None:
        """Wait for items; None where none come any more."""
        ...

    def send(self, indices: Sequence[int], report: Report) -> None:
        """Send a report about the items at these positions."""
        ...


class AsyncWorker(Worker):
    """One worker of an asynchronous function. What it takes is what a :class:`Worker` takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gate = None if self._rate is None else RateGate(self._rate)
        self._collector = Collector(self._gate)
        self._exit = AsyncExitStack()
        self._stepping: Stepping | None = None
        self._items: AsyncItems | None = None
        self._alone: list[AsyncItems] = []
        self._runner: asyncio.Runner | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._feed: Feed | None = None
        self._halted: Callable[[], bool] = bool
        self._main: asyncio.Task[Any] | None = None
        self._interrupted = False

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=_loop_factory())
        return self._runner.run(work)

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
        self._collector.begin()
        self._main = asyncio.current_task()
        running = await self._entered()
        if running is None:
            return self._collector.take()[1]
        running.add(indices, items)
        until = clock.now() + self._rules.seconds
        try:
            while running.busy:
                with suppress(TimeoutError):
                    await asyncio.wait_for(running.wait(), _LOOK)
                if halted() or clock.now() > until:
                    running.drop_waiting()
        except BaseException:
            await running.close(GRACE)
            raise
        return _in_order(*self._collector.take())

    # As others end

    def serve(self, feed: Feed, halted: Callable[[], bool] = bool) -> None:
        """Run what comes, until nothing comes any more.

        Args:
            feed: Where items come from.
            halted: Whether no further item may start now; looked at a hundred times a second while items end.
        """
        self._halted = halted
        try:
            self._on_loop(self._serve(feed))
        except asyncio.CancelledError:
            if not self._interrupted:
                raise

    async def _serve(self, feed: Feed) -> None:
        self._feed, self._main = feed, asyncio.current_task()
        while (chunk := await feed.receive()) is not None:
            await self._start(feed, chunk)
        for items in (self._items, *self._alone):
            if items is not None:
                await items.wait()
        self._report()

    async def _start(self, feed: Feed, given: Given) -> None:
        indices = given.indices
        running = await self._entered()
        if running is None:
            feed.send([], self._collector.take()[1])
            return
        try:
            items = given.load()
        except Exception as error:  # noqa: BLE001 - loading runs code of the user
            feed.send(indices, unread(Report(indices[0], os.getpid()), error, len(indices), self))
            return
        if given.alone:
            self._add_alone(feed, indices, items)
            return
        if not running.busy and not self._collector.indices:
            self._collector.begin()  # what was waited for items is nobody's time
        running.add(indices, items)
        if self._timer is None:
            self._tick()

    def _add_alone(self, feed: Feed, indices: Sequence[int], items: Sequence[Any]) -> None:
        """Run one item beside the others, since the task can't load its report together with theirs."""
        collector = Collector(self._gate)
        running = self._make_items(collector, lambda: feed.send(*collector.take()))
        self._alone.append(running)
        running.add(indices, items)

    def _make_items(self, collector: Collector, idled: Callable[[], object]) -> AsyncItems:
        assert self._stepping is not None  # noqa: S101 - the resources were entered
        failed = functools.partial(self._item_failed, collector)
        return AsyncItems(self._rules.concurrency, self._stepping, collector.add, failed, idled, gate=self._gate)

    def _item_failed(self, collector: Collector, error: BaseException, index: int, seconds: float) -> bool:
        goes_on = self._failed(collector.report, error, index, seconds)
        collector.note(index, seconds)
        if not goes_on:
            self._report()
        return goes_on

    def _verdict(self, error: BaseException) -> Verdict:
        """Return what an exception means, of which a cancellation is the item's own: the run's is no failure."""
        return "retry" if isinstance(error, asyncio.CancelledError) else super()._verdict(error)

    def _tick(self) -> None:
        """Report now and then as long as anything runs."""
        self._report()
        items = self._items
        if items is not None:
            items.hold(on=self._halted())
            self._timer = asyncio.get_running_loop().call_later(_LOOK, self._tick) if items.busy else None

    def _report(self) -> None:
        if self._feed is not None and self._collector.indices:
            self._feed.send(*self._collector.take())

    def interrupt(self) -> bool:
        """End what runs, from a signal's handler or another thread: the run is over, and :meth:`close` follows."""
        self._interrupted = True
        runner, main = self._runner, self._main
        if runner is not None and main is not None:
            with suppress(RuntimeError):  # the loop is closed
                runner.get_loop().call_soon_threadsafe(main.cancel)
        return True

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
                self._items = self._make_items(self._collector, self._report)
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
        for items in (self._items, *self._alone):
            if items is not None:
                await items.close(GRACE)
        self._items = None
        await self._exit.aclose()


def _in_order(indices: list[int], report: Report) -> Report:
    """Return the report of a chunk whose items ended in any order, with their values in that of the input."""
    order = sorted(range(len(indices)), key=indices.__getitem__)
    report.values = [report.values[place] for place in order]
    return report


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: the usual one, unless its clock stands still, as in a test that stops the time."""
    return _OwnClock if clock.stands_still(time.monotonic) else None


class _OwnClock(asyncio.SelectorEventLoop):
    """An event loop that goes by a clock which nobody stops."""

    def time(self) -> float:
        return clock.now()
