"""When the next item may start, so that all workers of a run together start no more than the rate allows.

A token bucket, kept as one number: the time from which on it is full again if nobody takes anything (the theoretical
arrival time of the generic cell rate algorithm, ITU-T I.371). A worker reserves a start, which moves that time on by
one interval, and waits by itself until its start has come: so starts are in the order in which workers ask, and there
is neither a queue nor anybody who serves it.

::

    bucket   one number, which all workers of the run share
      │ reserve: the time of the next start
      ▼
    RateLimit, one in each worker ── wait ──► an item starts
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from airflow_joblib.wire.records import Rules

    Cell = Callable[[], AbstractContextManager[memoryview]]

__all__ = ["OwnCell", "RateLimit", "carried_on", "rate_limit"]

#: Seconds of the rate that can be started at once where nobody has started anything for a while: at least one item.
_BURST: Final = 0.05
#: Seconds that a start may come too late and still be used, or a tenth of the interval where that is longer. What
#: `_BURST` and this allow together is a tenth of a second's refill, and one item.
_LATE: Final = 0.05
#: Seconds between two looks of a worker that waits at whether it still has to.
_LOOK: Final = 0.05


class OwnCell:
    """The number of a bucket that the threads of this process alone share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cell = memoryview(bytearray(8)).cast("q")

    @contextmanager
    def __call__(self) -> Iterator[memoryview]:
        """Give the number, which no other thread reads or writes meanwhile."""
        with self._lock:
            yield self._cell


class RateLimit:
    """What one worker goes by. Not for several threads at a time.

    Args:
        rate: Items a second.
        cell: Gives the number of the bucket, locked; those that share it share the rate.

    Attributes:
        waited: Seconds that it has waited in all, for whoever calls to add to and take from.
    """

    def __init__(self, rate: float, cell: Cell | None = None) -> None:
        self._interval, self._burst = _nanoseconds(rate)
        self._late = max(_LATE, self._interval / 10e9)
        self._cell = cell or OwnCell()
        self._kept: list[float] = []
        self.waited = 0.0

    def reserve(self) -> float:
        """Return when one item may start, by :func:`airflow_joblib.system.clock.now`; it may be now.

        One that was given back comes first. Whoever comes late (:meth:`is_late`) must reserve again.
        """
        while self._kept:
            if not self.is_late(start := self._kept.pop(0)):
                return start
        with self._cell() as cell:
            now, full = clock.now_ns(), cell[0]
            cell[0] = max(full, now) + self._interval
        return max(now, full - self._burst) / 1e9

    def give_back(self, start: float) -> None:
        """Keep a start that was reserved and not used for the next item of this worker."""
        self._kept.append(start)
        self._kept.sort()

    def is_late(self, start: float) -> bool:
        """Return whether a reserved start is too long ago: together with others, late too, it would be one too many."""
        return clock.now() - start > self._late

    def wait(self, ended: Callable[[], bool]) -> bool:
        """Wait until an item may start, and return whether it may.

        Args:
            ended: Returns whether no further item may start; looked at before the wait and now and then in it.
        """
        while not ended():
            if self._come(start := self.reserve(), ended) and not self.is_late(start):
                return True
        return False

    def _come(self, start: float, ended: Callable[[], bool]) -> bool:
        """Wait for a start; where no item may start any more it is given back."""
        began, come = clock.now(), False
        try:
            while (left := start - clock.now()) > 0:
                clock.pause(min(left, _LOOK))
                if left > _LOOK and ended():
                    return False
            come = True
        finally:
            self.waited += clock.now() - began
            if not come:
                self.give_back(start)
        return True


def rate_limit(rules: Rules, cell: Cell | None = None) -> RateLimit | None:
    """Return what a worker goes by; None where there is no limit.

    Args:
        rules: The rules of the run.
        cell: Gives the number that all workers share; None where they can't, and each has its part of the rate.
    """
    if rules.rate is None:
        return None
    return RateLimit(rules.rate / rules.workers) if cell is None else RateLimit(rules.rate, cell)


def _nanoseconds(rate: float) -> tuple[int, int]:
    """Return the interval between two items of this rate, and the sum of those that can be taken at once but one."""
    interval = round(1e9 / rate)
    return interval, max(0, int(rate * _BURST) - 1) * interval


def carried_on(full: int, rate: float) -> int:
    """Return the number of a bucket for the workers of a new pool, from that which those of a lost one have left.

    What those had reserved and not used is not waited for: no start that they did use is later than now.
    """
    interval, burst = _nanoseconds(rate)
    return min(full, clock.now_ns() + burst + interval)
