"""Where the time of a run went, and what would have saved some of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from airflow_joblib.options.backends import backend_named

if TYPE_CHECKING:
    from airflow_joblib.wire.records import Report

__all__ = ["RunStats", "Times"]

log = logging.getLogger("airflow_joblib")

#: What a fan-out must have lost against a plain loop to be worth a warning: seconds, and a part of its time.
_LOST_SECONDS, _LOST_PART = 1.0, 0.2
#: Seconds from which on the slowest item is worth a word.
_SLOW = 0.01
#: Seconds from which on what workers load is worth a word.
_SLOW_LOADING = 1.0
#: Seconds of work below which processes are not worth their start.
_WORTH_PROCESSES = 2.0
#: Share of their time beyond which items wait more than they run.
_WAITS = 0.8
#: Share of the time beyond which threads run Python code all the time.
_TURNS = 0.7


class Times(NamedTuple):
    """Where the time of a run went, in seconds, each but the first two on the average of its workers.

    Attributes:
        wall: From the first worker's start to the last result.
        one_by_one: What the items would have taken in a plain loop: what they took in the workers, without what they
            waited there for a processor, or for a turn at running Python code; and no less than the rate takes.
        start: Until the first item ran, and longer where the other workers were started after that.
        running: Items.
        end: Idle at the end, while another worker still ran items.
        retrying: Idle until an item that had failed was due for its next try.
        sending: All the rest: sending, receiving, waiting for the next chunk.
        rate: Waiting until the next item may start by the rate.
    """

    wall: float
    one_by_one: float
    start: float
    running: float
    end: float
    retrying: float
    sending: float
    rate: float = 0.0


class RunStats:
    """Adds up the times that reports have.

    Args:
        name: The function's name.
        began: When the run began, by the monotonic clock.
        rate: Items that may start in a second; None for any number.

    Attributes:
        starting: Seconds that it took to start the other workers, one after another, while the first may have run.
    """

    def __init__(self, name: str, began: float, rate: float | None = None) -> None:
        self.starting = 0.0
        self._rate = rate
        self._rate_waited = 0.0
        self._tries = 0
        self._name = name
        self._began = began
        self._first = float("inf")
        self._ends: dict[tuple[int, int], float] = {}
        self._seconds = 0.0
        self._cpu = 0.0
        self._waited = 0.0
        self._slowest = (0.0, -1)
        self._tried: dict[int, float] = {}
        self._for_retries: list[tuple[float, int]] = []
        self._loading = (0.0, "")

    def add(self, report: Report) -> None:
        """Take note of a chunk."""
        worker = report.worker, report.thread
        if report.worker:  # not of an item whose result can't be loaded
            self._first = min(self._first, report.began)
            self._ends[worker] = report.ended
        self._seconds += report.seconds
        self._cpu += report.cpu
        self._waited += report.waited
        self._rate_waited += report.rate_waited
        self._tries += len(report.values)
        self._loading = max(self._loading, (report.loading, report.loaded))
        self._add_slowest(report)

    def _add_slowest(self, report: Report) -> None:
        """Take note of how long items took, their tries together."""
        failed = {failure.index for failure in report.failures}
        if report.slowest not in failed:
            seconds = report.slowest_seconds + self._tried.pop(report.slowest, 0.0)
            self._slowest = max(self._slowest, (seconds, report.slowest))
        for failure in report.failures:
            tried = self._tried[failure.index] = self._tried.get(failure.index, 0.0) + failure.seconds
            self._slowest = max(self._slowest, (tried, failure.index))

    def wait_for_retry(self, seconds: float, under_way: int) -> None:
        """Take note of a time in which all that was left to run had to wait for its next try."""
        self._for_retries.append((seconds, under_way))

    def times(self, workers: int, wall: float) -> Times:
        """Return where the time went; zeros for a run without items."""
        if not self._ends:
            return Times(wall, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        start = min(wall, max(0.0, self._first - self._began) + self.starting / 2)  # half of it on the average
        last = max(self._ends.values())
        idle = sum(last - end for end in self._ends.values())
        end = (idle + (workers - len(self._ends)) * max(0.0, wall - start)) / workers if workers > 1 else 0.0
        running = self._seconds / workers
        rate = min(self._rate_waited / workers, max(0.0, wall - start - running))
        rest = max(0.0, wall - start - running - rate)
        retrying = min(rest, self._retrying(workers))
        end = min(max(0.0, end), rest - retrying)
        return Times(wall, self._one_by_one(wall), start, running, end, retrying, rest - retrying - end, rate)

    def _retrying(self, workers: int) -> float:
        idle = sum(seconds * max(0, workers - under_way) for seconds, under_way in self._for_retries)
        return idle / workers

    def _one_by_one(self, wall: float) -> float:
        by_rate = 0.0 if self._rate is None else (self._tries - 1) / self._rate
        return max(by_rate, self._unhindered(wall))

    def _unhindered(self, wall: float) -> float:
        threads = len({process for process, _ in self._ends}) == 1
        if threads and self._cpu > _TURNS * wall:  # what they waited, they waited for each other
            return self._cpu
        return self._cpu + self._waited

    def log_breakdown(self, workers: int, times: Times, xcom_bytes: int | None) -> None:
        """Log where the time went, at debug level.

        Args:
            workers: How many ran.
            times: Where the time went.
            xcom_bytes: Size of the results as an XCom; None where they will not be one.
        """
        if self._ends and log.isEnabledFor(logging.DEBUG):
            size = "" if xcom_bytes is None else f"; the XCom has about {xcom_bytes / 1024:,.0f} KiB"
            log.debug("%s: %s%s", self._name, self.breakdown(workers, times), size)

    def breakdown(self, workers: int, times: Times) -> str:
        """Return where the time went, as a text."""
        busy = 100 * times.running / times.wall if times.wall else 100.0
        text = f"the workers were busy for {busy:.0f} % of the time"
        rate = f"waiting for the rate {times.rate:.2f} s" if times.rate >= _SLOW else ""
        if workers > 1:
            retrying = f"waiting for retries {times.retrying:.2f} s, " if times.retrying >= _SLOW else ""
            text += (
                f" (start {times.start:.2f} s, running {times.running:.2f} s, sending {times.sending:.2f} s, "
                f"{retrying}{rate and rate + ', '}waiting at the end {times.end:.2f} s)"
            )
        elif rate:
            text += f" ({rate})"
        seconds, index = self._slowest
        if seconds >= _SLOW:
            text += f"; the slowest item, {index}, took {seconds:.2f} s"
        if self._loading[0] >= _SLOW_LOADING:
            text += f"; {self._loaded()}"
        return text

    def _loaded(self) -> str:
        seconds, package = self._loading
        return (
            f"workers spent {seconds:.0f} s importing {package}" if package else f"workers loaded for {seconds:.0f} s"
        )

    def warn(self, backend: str, times: Times) -> None:
        """Log that a plain loop would have been faster, and what would help, where the difference is worth a line."""
        if times.wall - times.one_by_one > max(_LOST_SECONDS, _LOST_PART * times.wall):
            log.warning(
                "%s: a plain loop would have taken about %.2f s, not %.2f s: %s.",
                self._name,
                times.one_by_one,
                times.wall,
                self._advice(backend, times),
            )

    def _advice(self, backend: str, times: Times) -> str:
        threads = backend_named(backend).threads
        turns = times.running - times.one_by_one / max(1, len(self._ends))
        if turns > max(times.start, times.sending, times.end) and not threads:
            return (
                f"each worker waited {turns:.2f} s for a processor; use fewer n_jobs, or give the task more CPUs, "
                "which others may be using now"
            )
        if times.start >= max(times.sending, times.end):
            why = f" ({self._loaded()})" if self._loading[0] >= _SLOW_LOADING else ""
            waits = self._waited > _WAITS * times.one_by_one and not threads
            instead = "backend='threading' or n_jobs=1" if waits else "n_jobs=1"
            return f"starting the workers took {times.start:.2f} s{why}; for so little work use {instead}"
        if times.end > times.sending:
            return "most workers had nothing to do at the end; use fewer n_jobs, or smaller items"
        if threads:
            instead = "a backend of processes, as 'loky'" if times.one_by_one >= _WORTH_PROCESSES else "n_jobs=1"
            return f"threads take turns at running Python code; use {instead}"
        return "sending took the most; let an item do more work, or set a larger batch_size"
