"""When an item that failed is tried again: kept in the task, so that no worker waits for it."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Retries"]


class Retries:
    """The items that wait for their next try.

    The wait before the n-th retry is ``delay * 2 ** (n - 1)`` seconds and up to *delay* more at random, so that items
    that failed together, say for one overloaded server, don't all come back together.

    Args:
        most: Tries after the first.
        delay: Seconds before the first retry.
    """

    def __init__(self, most: int, delay: float) -> None:
        self._most = most
        self._delay = delay
        self._waiting: list[tuple[float, int, int, Any]] = []
        self._order = itertools.count()
        self._wait: Callable[[Any], float] | None = None

    def plan(self, index: int, item: object, tries: int, after: float | None = None) -> float | None:
        """Let an item wait, and return the seconds until its next try; None if it has no more.

        Args:
            index: Its position in the input.
            item: The item.
            tries: How often it has been tried.
            after: Seconds that it asks for itself: up to a tenth of that more at random, and no other wait.
        """
        if tries > self._most:
            return None
        seconds = self._seconds(tries) if after is None else after * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
        heapq.heappush(self._waiting, (clock.now() + seconds, next(self._order), index, item))
        return seconds

    def _seconds(self, tries: int) -> float:
        import tenacity  # late: only who retries pays for it

        if self._wait is None:
            self._wait = tenacity.wait_exponential(multiplier=self._delay) + tenacity.wait_random(0, self._delay)
        state = tenacity.RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = tries
        return float(self._wait(state))

    def due(self) -> tuple[int, Any] | None:
        """Take an item whose time has come: its position and itself."""
        if self._waiting and self._waiting[0][0] <= clock.now():
            return heapq.heappop(self._waiting)[2:]
        return None

    @property
    def last_due(self) -> float | None:
        """When the last one is due, by the monotonic clock; None if nothing waits."""
        return max(self._waiting)[0] if self._waiting else None

    @property
    def next_due(self) -> float | None:
        """When the next one is due, by the monotonic clock; None if nothing waits."""
        return self._waiting[0][0] if self._waiting else None
