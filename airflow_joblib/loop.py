"""The loop over the items of a chunk: all that our own code costs an item.

::

    one by one: look around once a millisecond ──► many a millisecond ──► in blocks, at the speed of map
        ▲                                                                     │
        └──────────────── a thread empties the block if it takes long ◄───────┘

Between two items of a block nothing of ours runs. What a worker that dies there ran is one item of the block.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_joblib.board import COUNT, INDEX, SINCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_joblib.outcomes import Report

__all__ = ["Loop", "Pace"]

#: Seconds between two looks around; to look costs more than a small item.
_LOOK = 0.001
#: The same before the first look.
_FIRST_LOOK = 0.0001
#: Seconds of an item below which to look after each costs more than they are worth.
_QUICK = 5e-6
#: Seconds after which a block is cut short, or twice as many.
_LONG = 0.02


class Pace:
    """Cuts a block short that takes long, between two of its items, from a thread of its own.

    A list's iterator ends where the list does: to empty the list ends what draws from it.

    Attributes:
        size: Items of a block, as the last ones turned out; 0 where they are not quick.
    """

    def __init__(self) -> None:
        self.size = 0
        self._block: list[Any] | None = None
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, block: list[Any]) -> None:
        """Watch a block that is about to run, until another is given or :meth:`rest` called."""
        self._block = block
        self._busy.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="airflow-joblib pace", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Watch nothing."""
        self._busy.clear()
        self._block = None

    def _look(self) -> None:
        seen: list[Any] | None = None
        while self._busy.wait():
            block = self._block
            if block is not None and block is seen:
                block.clear()
            seen = block
            time.sleep(_LONG)


class Loop:
    """Runs the items of one chunk and keeps their results in its report.

    Args:
        function: The function of one item.
        items: The items.
        indices: Their positions in the input.
        report: Where results go, and which item was the slowest.
        row: Where it says which item runs (:mod:`airflow_joblib.board`).
        timed: Whether it also says since when.
        pace: Watches over quick items; None to run all items one by one.
        ended: Told the time by ``perf_counter``, it says whether no further item may start. Asked once a millisecond,
            and less often where an item or a block takes longer.
    """

    def __init__(  # noqa: PLR0913 - what a chunk's items need
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        indices: Sequence[int],
        report: Report,
        row: memoryview,
        *,
        timed: bool,
        pace: Pace | None,
        ended: Callable[[float], bool],
    ) -> None:
        self._function = function
        self._items = items
        self._indices = indices
        self._report = report
        self._row = row
        self._timed = timed
        self._pace = pace
        self._ended = ended
        self._pairs: Iterator[tuple[int, Any]] | None = None

    def run(self) -> None:
        """Run the items, those after the one that raised where one did before.

        Raises:
            BaseException: Whatever an item raises.
        """
        quick = self._pace is not None and self._pace.size > 0
        while (quick or self._one_by_one()) and self._in_blocks():
            quick = False

    def _left(self) -> Iterator[tuple[int, Any]]:
        """Return what has not run, with its positions."""
        if self._pairs is None:
            done = len(self._report.values)
            self._pairs = zip(self._indices[done:], self._items[done:], strict=True)
        return self._pairs

    def _one_by_one(self) -> bool:
        """Run items until they turn out to be quick, and tell whether they did."""
        report, function, row, clock, timed = self._report, self._function, self._row, time.perf_counter, self._timed
        keep = report.values.append
        slowest, done = report.slowest_seconds, len(report.values)
        row[COUNT] = 0
        began = now = clock()
        look = now + _FIRST_LOOK
        if self._ended(now):
            return False
        for index, item in self._left():
            if now >= look:
                if self._ended(now):
                    return False
                if self._are_quick(len(report.values) - done, now - began):
                    return True
                look, began, done = now + _LOOK, now, len(report.values)
            if timed:
                row[SINCE] = time.monotonic_ns()
            row[INDEX] = index + 1
            keep(function(item))
            before, now = now, clock()
            if now - before > slowest:
                slowest = report.slowest_seconds = now - before
                report.slowest, report.among = index, 1
        return False

    def _are_quick(self, items: int, seconds: float) -> bool:
        """Tell whether items that took so long are better run in blocks."""
        if self._pace is None or seconds > items * _QUICK:
            return False
        self._pace.size = int(items * _LOOK / seconds)
        return True

    def _in_blocks(self) -> bool:
        """Run items in blocks, and tell whether there are more, since some were not quick."""
        pace, values, row, clock = self._pace, self._report.values, self._row, time.perf_counter
        assert pace is not None  # noqa: S101 - as the caller saw
        self._pairs = None
        now = clock()
        try:
            while (done := len(values)) < len(self._items) and not self._ended(now):
                block = list(self._items[done : done + pace.size])
                row[COUNT], row[INDEX] = len(block), self._indices[done] + 1
                pace.watch(block)
                values.extend(map(self._function, block))
                before, now = now, clock()
                if now - before > _LONG:
                    self._take_note(now - before, done)
                    pace.size = 0
                    return True
        finally:
            pace.rest()
        return False

    def _take_note(self, seconds: float, first: int) -> None:
        """Note which items took long: as long as all of their block, since others in it were quick."""
        report = self._report
        if seconds > report.slowest_seconds:
            report.slowest_seconds, report.slowest = seconds, self._indices[first]
            report.among = len(report.values) - first
