"""The loop over a chunk's items: what it keeps, how it is ended, and what is seen of it, be they quick or slow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import loop
from airflow_joblib.board import COUNT, INDEX, Slot
from airflow_joblib.call import Call
from airflow_joblib.loop import Loop, Pace
from airflow_joblib.outcomes import Report, Rules
from airflow_joblib.worker import Worker, current_item
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MANY = 20_000


class Chunk:
    """A chunk that is run, and what is seen of it."""

    def __init__(self, items: Sequence[Any], function: Callable[[Any], Any]) -> None:
        self.report = Report(100, 1)
        self.slot = Slot()
        self.pace = Pace()
        self.looks = 0
        self.over = False
        indices = range(100, 100 + len(items))
        self.loop = Loop(
            function, items, indices, self.report, self.slot.row, timed=False, pace=self.pace, ended=self.ended
        )

    def ended(self, _now: float) -> bool:
        self.looks += 1
        return self.over


@pytest.fixture
def _no_block_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a block take its time: a busy machine may take this process off its processors for longer than one may."""
    monkeypatch.setattr(loop, "_LONG", 60.0)


@pytest.mark.usefixtures("_no_block_is_long")
def test_quick_items_run_in_blocks() -> None:
    """Results are in order, and not looked after one by one."""
    chunk = Chunk(range(10 * MANY), lambda item: -item)
    chunk.loop.run()
    assert chunk.report.values == [-item for item in range(10 * MANY)]
    assert chunk.pace.size > 0
    assert chunk.looks < MANY / 10


@pytest.mark.usefixtures("_no_block_is_long")
def test_next_chunk_begins_in_blocks() -> None:
    """What a worker has learned of its items holds for the next chunk."""
    first = Chunk(range(10 * MANY), abs)
    first.loop.run()
    second = Chunk(range(50), lambda item: chunk_row(second))
    second.pace.size = first.pace.size
    second.loop.run()
    assert second.report.values == [(50, 101)] * 50


def chunk_row(chunk: Chunk) -> tuple[int, int]:
    return chunk.slot.row[COUNT], chunk.slot.row[INDEX]


def test_slow_items_run_one_by_one() -> None:
    """Each of them stands on the board by itself, and the loop looks around between two of them."""

    def work(_: int) -> tuple[int, int]:
        time.sleep(0.002)
        return chunk_row(chunk)

    chunk = Chunk(range(20), work)
    chunk.loop.run()
    assert chunk.report.values == [(0, 101 + item) for item in range(20)]
    assert chunk.looks >= 20
    assert chunk.pace.size == 0


def test_item_that_raises_in_a_block() -> None:
    """What has run is kept, and the next call goes on after the item."""
    chunk = Chunk(range(MANY), lambda item: 1 // (item % 7000 - 6999))
    failed = []
    while True:
        try:
            chunk.loop.run()
        except ZeroDivisionError:
            failed.append(len(chunk.report.values))
            chunk.report.values.append(None)
        else:
            break
    assert failed == [6999, 13999]
    assert len(chunk.report.values) == MANY
    assert [place for place, value in enumerate(chunk.report.values) if value is None] == failed


def test_items_that_turn_slow_in_a_block() -> None:
    """The block is cut short, the rest goes one by one, and the slowest item is one of those that ran in it."""
    slow = 15_000

    def work(item: int) -> int:
        if item >= slow:
            time.sleep(1)
        return item

    chunk = Chunk(range(slow + 100), work)
    chunk.pace.size = 10_000

    def ended(_now: float) -> bool:
        return len(chunk.report.values) > slow

    chunk.loop._ended = ended
    chunk.loop.run()
    ran = len(chunk.report.values)
    assert chunk.report.values == list(range(ran))
    assert slow < ran < slow + 10, "a block is cut short within an item of so long"
    assert chunk.report.slowest <= 100 + slow < chunk.report.slowest + chunk.report.among
    assert chunk.report.slowest_seconds >= 1


def test_ended_between_blocks() -> None:
    """No further item starts once the run is over."""

    def work(item: int) -> int:
        chunk.over = item > MANY / 2
        return item

    chunk = Chunk(range(10 * MANY), work)
    chunk.loop.run()
    assert MANY / 2 < len(chunk.report.values) < 10 * MANY


def test_pace_watches_the_block_it_is_given() -> None:
    """A block that takes long is emptied, no other is, and nothing is looked at while the worker rests."""
    pace = Pace()
    first, second = [1], [2]
    pace.watch(first)
    assert eventually(lambda: not first, 30)
    pace.rest()
    pace.watch(second)
    pace.rest()
    time.sleep(0.1)
    assert second == [2]


@pytest.mark.parametrize("quick", [True, False])
def test_current_item(quick: bool) -> None:
    """Whatever an item says is known to be its own, in a block too."""

    def work(_: int) -> int | None:
        if not quick:
            time.sleep(0.001)
        return current_item()

    indices = range(5, MANY + 5 if quick else 25)
    report = Worker(Call(work), Rules(), slot=Slot()).run(list(indices), indices)
    assert report.values == list(indices)
