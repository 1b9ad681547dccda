"""What a run came to: how fast it was, where its time went, and which option would help."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from airflow_joblib.outcomes import Report

__all__ = ["Tally", "Times"]

log = logging.getLogger("airflow_joblib")

#: Seconds that a fan-out must have lost against a plain loop to be worth a warning.
_WORTH_SAYING = 0.1
#: Seconds that a run must last to be worth a hint.
_WORTH_HINTING = 0.5
#: Seconds from which on the slowest item is worth a word.
_SLOW = 0.01
#: Share of their time beyond which items wait more than they run.
_WAITS = 0.8
#: Share of the time beyond which threads run Python code all the time.
_TURNS = 0.7
#: Share of all work beyond which the first items of the workers say that each worker sets something up.
_SETS_UP = 0.3


class Times(NamedTuple):
    """Where the time of a run went, in seconds, each but the first two on the average of its workers.

    Attributes:
        wall: From the first worker's start to the last result.
        one_by_one: What the items would have taken in a plain loop: what they took in the workers, without what they
            waited there for a processor, or for a turn at running Python code.
        start: Until the first item ran.
        running: Items.
        end: Idle at the end, while another worker still ran items.
        sending: All the rest: sending, receiving, waiting for the next chunk.
    """

    wall: float
    one_by_one: float
    start: float
    running: float
    end: float
    sending: float


class Tally:
    """Adds up what reports say of a run.

    Args:
        name: The function's name.
        began: When the run began, by the monotonic clock.
    """

    def __init__(self, name: str, began: float) -> None:
        self._name = name
        self._began = began
        self._first = float("inf")
        self._ends: dict[tuple[int, int], float] = {}
        self._slow_starts = 0
        self._set_up = 0.0
        self._seconds = 0.0
        self._cpu = 0.0
        self._waited = 0.0
        self._slowest = (0.0, -1)

    def add(self, report: Report) -> None:
        """Take note of a chunk."""
        worker = report.worker, report.thread
        if worker not in self._ends and report.slowest == report.first:
            self._slow_starts += 1
            self._set_up += report.slowest_seconds
        self._first = min(self._first, report.began)
        self._ends[worker] = report.began + report.seconds
        self._seconds += report.seconds
        self._cpu += report.cpu
        self._waited += report.waited
        self._slowest = max(self._slowest, (report.slowest_seconds, report.slowest))

    def times(self, workers: int, wall: float) -> Times:
        """Return where the time went; zeros for a run without items."""
        if not self._ends:
            return Times(wall, 0.0, 0.0, 0.0, 0.0, 0.0)
        start = min(wall, max(0.0, self._first - self._began))
        last = max(self._ends.values())
        idle = sum(last - end for end in self._ends.values())
        end = (idle + (workers - len(self._ends)) * max(0.0, wall - start)) / workers if workers > 1 else 0.0
        running = self._seconds / workers
        return Times(
            wall, self._one_by_one(wall), start, running, max(0.0, end), max(0.0, wall - start - running - end)
        )

    def _one_by_one(self, wall: float) -> float:
        threads = len({process for process, _ in self._ends}) == 1
        if threads and self._cpu > _TURNS * wall:  # what they waited, they waited for each other
            return self._cpu
        return self._cpu + self._waited

    def sentence(self, workers: int, times: Times) -> str:
        """Say it, as the rest of a sentence that names the items and the time."""
        if not self._ends:
            return ""
        busy = 100 * times.running / times.wall if times.wall else 100.0
        faster = times.one_by_one / times.wall if times.wall else 1.0
        said = f": the workers were busy for {busy:.0f} % of it, {faster:.1f} times as fast as one by one"
        if workers > 1:
            said += (
                f" (start {times.start:.2f} s, running {times.running:.2f} s, sending {times.sending:.2f} s, "
                f"waiting at the end {times.end:.2f} s)"
            )
        seconds, index = self._slowest
        if seconds >= _SLOW:
            said += f"; the slowest item, {index}, took {seconds:.2f} s"
        return said

    def warn(self, backend: str, times: Times) -> None:
        """Say so where the fan-out lost against a plain loop, and what would help."""
        if times.wall - times.one_by_one < _WORTH_SAYING:
            return
        log.warning(
            "%s: the fan-out took %.2f s, and a plain loop would have taken about %.2f s. %s",
            self._name,
            times.wall,
            times.one_by_one,
            self._advice(backend, times),
        )

    def _advice(self, backend: str, times: Times) -> str:
        turns = times.running - times.one_by_one / max(1, len(self._ends))
        if turns > max(times.start, times.sending, times.end) and backend != "threading":
            return (
                f"Each worker waited {turns:.2f} s for a processor: use fewer n_jobs, or give the task more CPUs, "
                "which others may be using now."
            )
        if times.start >= max(times.sending, times.end):
            return (
                f"Starting the workers took {times.start:.2f} s of it: so little work is done sooner with "
                "backend='threading', or with n_jobs=1."
            )
        if times.end > times.sending:
            return "Most workers had nothing to do at the end: use fewer n_jobs, or smaller items."
        if backend == "threading":
            return "Threads take turns at running Python code: use a backend of processes, as 'loky'."
        return "Sending took the most: let an item do more work, or set a larger batch_size."

    def hint(self, backend: str, times: Times) -> None:
        """Say which option would make a run faster that did not lose."""
        if times.wall < _WORTH_HINTING or times.wall > times.one_by_one:
            return
        if self._slow_starts == len(self._ends) > 1 and self._set_up > _SETS_UP * self._seconds:
            log.info(
                "%s: the first item took each worker the longest: what it sets up for the others fits in per_worker.",
                self._name,
            )
        elif self._waited > _WAITS * times.one_by_one and backend in {"loky", "multiprocessing"}:
            log.info(
                "%s: the items waited for %.0f %% of their time: backend='threading' with more n_jobs starts at once "
                "and waits for more of them together.",
                self._name,
                100 * self._waited / times.one_by_one,
            )
