"""The loop over a chunk's items: what it keeps, how it is ended, and what is seen of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import Report, Rules
from airflow_joblib.wire.status_board import INDEX, Slot
from airflow_joblib.worker.item_loop import run_items
from airflow_joblib.worker.worker import Worker, current_item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MANY = 200_000


class Chunk:
    """A chunk that is run, and what is seen of it."""

    def __init__(self, items: Sequence[Any], function: Callable[[Any], Any]) -> None:
        self.report = Report(100, 1)
        self.slot = Slot()
        self.looks = 0
        self.over = False
        self.failures: list[tuple[type[BaseException], int]] = []
        self._items = items
        self._function = function

    def run(self, catch: type[BaseException] = Exception) -> None:
        indices = range(100, 100 + len(self._items))
        run_items(
            self._function,
            self._items,
            indices,
            self.report,
            self.slot.row,
            timed=False,
            catch=catch,
            failed=self.failed,
            ended=self.ended,
        )

    def failed(self, error: BaseException, index: int, seconds: float) -> bool:
        self.failures.append((type(error), index))
        self.report.values.append(None)
        return True

    def ended(self) -> bool:
        self.looks += 1
        return self.over


def test_quick_items() -> None:
    """Results are in order, and the loop looks around once a millisecond, not once an item."""
    chunk = Chunk(range(MANY), lambda item: -item)
    chunk.run()
    assert chunk.report.values == [-item for item in range(MANY)]
    assert chunk.looks < MANY / 10


def test_slow_items() -> None:
    """Each of them stands on the board by itself, and the loop looks around between two of them."""

    def work(_: int) -> int:
        time.sleep(0.002)
        return chunk.slot.row[INDEX]

    chunk = Chunk(range(20), work)
    chunk.run()
    assert chunk.report.values == [101 + item for item in range(20)]
    assert chunk.looks >= 20


def test_slowest_item() -> None:
    """The slowest of many quick items is known by its position."""

    def work(item: int) -> None:
        if item == 1500:
            time.sleep(0.3)

    chunk = Chunk(range(3000), work)
    chunk.run()
    assert chunk.report.slowest == 1600
    assert chunk.report.slowest_seconds >= 0.3


def test_items_that_raise() -> None:
    """What has run is kept, every failure stands at its own item, and the loop goes on after it."""
    chunk = Chunk(range(20_000), lambda item: 1 // (item % 7000 - 6999))
    chunk.run()
    assert chunk.failures == [(ZeroDivisionError, 7099), (ZeroDivisionError, 14_099)]
    assert len(chunk.report.values) == 20_000
    assert [place for place, value in enumerate(chunk.report.values) if value is None] == [6999, 13_999]


@pytest.mark.parametrize(
    "kind",
    [StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError],
)
@pytest.mark.parametrize("at", [0, 19_999, 10_000])
def test_exceptions_that_mean_something_to_python(kind: type[BaseException], at: int) -> None:
    """An exception that ends a loop, a generator or a process elsewhere is the failure of its item, which ran once."""
    ran: list[int] = []

    def work(item: int) -> int:
        ran.append(item)
        if item == at:
            raise kind
        return item

    chunk = Chunk(range(20_000), work)
    chunk.run(BaseException)
    assert chunk.failures == [(kind, 100 + at)]
    assert ran == list(range(20_000))
    assert chunk.report.values == [None if item == at else item for item in range(20_000)]


def test_what_is_no_failure() -> None:
    """An exception that is not to be caught leaves the loop, and what ran before it is kept."""

    def work(item: int) -> int:
        if item == 0:
            raise KeyboardInterrupt
        return item

    chunk = Chunk([3, 2, 1, 0], work)
    with pytest.raises(KeyboardInterrupt):
        chunk.run()
    assert chunk.report.values == [3, 2, 1]


def test_ended() -> None:
    """No further item starts once the run is over."""

    def work(item: int) -> int:
        chunk.over = item > MANY / 2
        return item

    chunk = Chunk(range(MANY), work)
    chunk.run()
    assert MANY / 2 < len(chunk.report.values) < MANY


@pytest.mark.parametrize("quick", [True, False])
def test_current_item(quick: bool) -> None:
    """Whatever an item logs is known to be its own."""

    def work(_: int) -> int | None:
        if not quick:
            time.sleep(0.001)
        return current_item()

    indices = range(5, 20_005 if quick else 25)
    report = Worker(Call(work), Rules(), slot=Slot()).run(list(indices), indices)
    assert report.values == list(indices)
