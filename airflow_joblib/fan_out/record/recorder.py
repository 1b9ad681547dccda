"""Adds up what can be seen of one run, and returns at any moment how the run stands.

::

    report ─► Recorder ─► timeline, durations, slowest ──┐
    state ───────────────► counts, failures ─────────────┼─► snapshot ─► XCom, picture
    stats ───────────────► where the time went ──────────┘

Reports are entered by the thread of the run; any thread may take a snapshot.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_joblib.fan_out.host import Figures
from airflow_joblib.fan_out.progress import seconds_left
from airflow_joblib.fan_out.record.fitting import entries_of
from airflow_joblib.fan_out.record.timeline import Entry, Timeline
from airflow_joblib.system import clock
from airflow_joblib.wire.durations import EDGES, SLOWEST

if TYPE_CHECKING:
    from collections.abc import Container

    from airflow_joblib.fan_out.record.names import ItemNames
    from airflow_joblib.fan_out.run_stats import RunStats
    from airflow_joblib.fan_out.state import RunState
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report

__all__ = ["Recorder", "State"]

State = Literal["running", "success", "failed"]

#: Failures that the record has.
FAILURES = 100
#: Where the time went: the parts that the record has.
_TIMES: Final = ("start", "running", "sending", "rate", "end")
#: Of the histogram, with an end to its last place.
_EDGES = (*EDGES, 1e9)


class Recorder:
    """The record of one run.

    Args:
        state: What became of the items.
        stats: Where the time goes.
        items: Names the items that are shown.
        workers: How many workers the run is to have.
        backend: What they are of.

    Attributes:
        stats: Where the time goes.
        workers: How many there are.
        backend: What they are of.
        local: Whether workers read the same clock as this process.
        lock: To be held by whoever changes *stats*.
    """

    def __init__(self, state: RunState, stats: RunStats, items: ItemNames, workers: int, backend: str) -> None:
        self._state = state
        self.stats = stats
        self._items = items
        self._began = clock.now()
        self._date = datetime.now(UTC)
        self._timeline = Timeline(workers)
        self._durations: Counter[int] = Counter()
        self._slowest: dict[int, float] = {}
        self._least = 0.0
        self._ended: float | None = None
        self._outcome: State = "running"
        self._asked = threading.Lock()
        self.workers = workers
        self.backend = backend
        self.local = True
        self.lock = threading.Lock()

    def add(self, chunk: ItemChunk, report: Report) -> None:
        """Take note of a chunk."""
        tries = len(report.values)
        if not tries:
            return
        failed = sum(failure.index >= 0 for failure in report.failures)
        if not report.worker:  # made up here, of an item whose result can't be loaded
            with self.lock:
                self._timeline.add_untimed(report.first, tries, failed)
                self._durations[0] += tries
            return
        seconds = report.seconds + report.rate_waited - report.rate_waited_first  # from its first item on
        start = max(0.0, (report.ended if self.local else clock.now()) - seconds - self._began)
        entry = Entry(start, start + seconds, report.first, tries, failed)
        with self.lock:
            self._timeline.add((report.worker, report.thread), entry)
            self._durations.update(report.durations)
            for seconds, index in report.slow or [(report.slowest_seconds, report.slowest)]:
                self._add_slowest(index, seconds, chunk)

    def lose(self, workers: Container[int] | None) -> None:
        """Take note of worker processes that are gone, so that others take their rows; None for all of them."""
        with self.lock:
            self._timeline.release(lambda worker: workers is None or worker[0] in workers)

    def _add_slowest(self, index: int, seconds: float, chunk: ItemChunk) -> None:
        if index < 0 or seconds <= self._slowest.get(index, self._least):
            return
        self._slowest[index] = seconds
        self._items.keep(index, chunk)
        if len(self._slowest) > 2 * SLOWEST:
            self._slowest = dict(heapq.nlargest(SLOWEST, self._slowest.items(), key=_seconds))
            self._least = min(self._slowest.values())
            self._items.keep_only(self._slowest)

    @property
    def name(self) -> str:
        """The function's name."""
        return self._state.name

    def finish(self, outcome: State) -> None:
        """Take note that the run is over."""
        self._ended = clock.now()
        self._outcome = outcome

    def snapshot(self) -> dict[str, Any]:
        """Return how the run stands: one of the runs of the document."""
        with self._asked:
            now = self._ended or clock.now()
            with self.lock:
                times = self.stats.times(self.workers, now - self._began)
                rows, counts = self._timeline.rows(), dict(self._durations)
                slowest = heapq.nlargest(SLOWEST, self._slowest.items(), key=_seconds)
            done = self._state.done + self._failed - self._state.earlier
            rate = done / max(now - self._began, 1e-9)
            return {
                "function": self._state.name,
                "backend": self.backend,
                "workers": self.workers,
                "state": self._outcome,
                "began": self._moment(self._began),
                "ended": None if self._ended is None else self._moment(self._ended),
                "updated": self._moment(now),
                "items": self.counts(),
                "rate": round(rate, 3),
                "seconds_left": self._seconds_left(rate) if self._ended is None else None,
                "timeline": entries_of(rows),
                "durations": _histogram(counts),
                "slowest": [
                    {"index": index, "label": self._items.name(index), "seconds": round(seconds, 6)}
                    for index, seconds in slowest
                ],
                "failures": self.failures()[:FAILURES],
                "time": {name: round(getattr(times, name), 3) for name in _TIMES},
            }

    def counts(self) -> dict[str, int | None]:
        """Return what became of how many items; the total is None as long as nobody knows it."""
        state = self._state
        return {
            "total": state.total,
            "done": state.done,
            "failed": self._failed,
            "skipped": state.skipped,
            "earlier": state.earlier,
            "retried": state.retried,
        }

    def failures(self) -> list[dict[str, Any]]:
        """Return the records of the items that failed for good, in the order of the input."""
        found = self._state.failures
        records = [*found.records, *([found.ended] if found.ended else [])]
        return sorted(records, key=lambda record: record["index"])

    @property
    def _failed(self) -> int:
        ended = self._state.failures.ended
        return self._state.failed + (ended is not None and ended["index"] >= 0)

    def figures(self) -> Figures:
        """Return the numbers of the run, for those who look at many runs."""
        durations = tuple((_middle(place), count) for place, count in sorted(self._durations.items()))
        counts = {name: count or 0 for name, count in self.counts().items()}
        return Figures(self._state.name, self.backend, self.workers, self._outcome, counts, self.seconds, durations)

    @property
    def seconds(self) -> float:
        """Seconds since the run began, or from its beginning to its end."""
        return (self._ended or clock.now()) - self._began

    def _moment(self, at: float) -> str:
        return (self._date + timedelta(seconds=at - self._began)).isoformat(timespec="milliseconds")

    def _seconds_left(self, rate: float) -> float | None:
        if self._state.total is None or not rate:
            return None
        left = self._state.total - self._state.done - self._failed
        return round(seconds_left(self._state, left, rate), 1)


def _seconds(entry: tuple[int, float]) -> float:
    return entry[1]


def _histogram(counts: dict[int, int]) -> dict[str, list[Any]]:
    """Return the counts from the first place that has any to the last, and one edge more than counts."""
    if not counts:
        return {"edges": [], "counts": []}
    first, last = min(counts), max(counts)
    places = range(first, last + 1)
    return {"edges": list(_EDGES[first : last + 2]), "counts": [counts.get(place, 0) for place in places]}


def _middle(place: int) -> float:
    low, high = _EDGES[place : place + 2]
    return math.sqrt(low * high) if low else high / 2
