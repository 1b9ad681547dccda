"""Which worker ran what, and when: entries that merge with their neighbours, so that they stay few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Entry", "Timeline", "folded", "merged"]

#: Entries of all rows together, and rows. Workers beyond share a row with others.
MOST, ROWS = 400, 200
#: Seconds that entries may be merged to at first.
_SPAN = 0.002


@dataclass(frozen=True, slots=True)
class Entry:
    """What one worker ran without, or nearly without, a pause.

    Attributes:
        start: Seconds from the beginning of the run.
        end: The same of its end.
        first: Position in the input of the first item.
        items: Tries of items that ended in this time.
        failed: Those of them that failed, to be tried again or not.
    """

    start: float
    end: float
    first: int
    items: int
    failed: int

    def joined(self, later: Entry) -> Entry:
        """Return both as one; nothing that they count is lost."""
        end, items, failed = max(self.end, later.end), self.items + later.items, self.failed + later.failed
        return Entry(min(self.start, later.start), end, self.first, items, failed)


Row = list[Entry]
#: A worker's process and thread.
Worker = tuple[int, int]


class Timeline:
    """The rows of a run, one for each worker that runs at the same time as others.

    Args:
        rows: Workers of the run. One that takes the place of another takes its row.
    """

    def __init__(self, rows: int) -> None:
        self._rows: list[Row] = [[] for _ in range(min(max(rows, 1), ROWS))]
        self._of: dict[Worker, int] = {}
        self._count = 0

    def add(self, worker: Worker, entry: Entry) -> None:
        """Take note of what a worker ran."""
        self._rows[self._row(worker, entry.start)].append(entry)
        self._count += 1
        if self._count > 2 * MOST:
            self._rows = merged(self._rows, MOST)
            self._count = sum(map(len, self._rows))

    def add_untimed(self, first: int, items: int, failed: int) -> None:
        """Count tries of which nobody knows when they were, where the last that is known ended."""
        row = max(self._rows, key=_last_end)
        end = max(0.0, _last_end(row))
        row.append(Entry(end, end, first, items, failed))
        self._count += 1

    def release(self, gone: Callable[[Worker], bool]) -> None:
        """Let the rows of workers that are gone be taken by others."""
        self._of = {worker: row for worker, row in self._of.items() if not gone(worker)}

    def _row(self, worker: Worker, start: float) -> int:
        """Return a worker's row: its own, nobody's, or that of the worker which is still for the longest.

        Of those that are nobody's it is the one that ended last before: an empty one is of a worker still to report.
        """
        row = self._of.get(worker)
        if row is None:
            ends = [_last_end(entries) for entries in self._rows]
            free = set(range(len(ends))).difference(self._of.values())
            before = [place for place in sorted(free) if ends[place] <= start]
            row = max(before, key=ends.__getitem__) if before else min(free or range(len(ends)), key=ends.__getitem__)
            self._of = {known: place for known, place in self._of.items() if place != row}
            self._of[worker] = row
        return row

    def rows(self) -> list[Row]:
        """Return the rows, with no more entries than are to be shown."""
        return merged(self._rows, MOST)


def merged(rows: Sequence[Row], most: int) -> list[Row]:
    """Merge neighbours until there are no more than *most* entries, or one in each row.

    The longest of what is merged grows step by step, so that all parts of a run are shown as closely.
    """
    found, span = [list(row) for row in rows], _SPAN
    while sum(map(len, found)) > most and any(len(row) > 1 for row in found):
        found = [_joined(row, span) for row in found]
        span *= 2
    return found


def _joined(row: Iterable[Entry], span: float) -> Row:
    found: Row = []
    for entry in row:
        if found and entry.end - found[-1].start <= span:
            found[-1] = found[-1].joined(entry)
        else:
            found.append(entry)
    return found


def folded(rows: Sequence[Row], most: int) -> list[Row]:
    """Return no more than *most* rows, each with one entry for all that it had."""
    found: list[Row] = [[] for _ in range(min(most, len(rows)))]
    for place, row in enumerate(rows):
        found[place % most] += row
    return [_joined(sorted(row, key=_start), float("inf")) for row in found]


def _last_end(row: Row) -> float:
    return row[-1].end if row else -1.0


def _start(entry: Entry) -> float:
    return entry.start
