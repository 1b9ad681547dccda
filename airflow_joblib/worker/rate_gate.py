"""Where the items of an asynchronous function wait for their starts, if there is a rate.

One at a time: what each would reserve for itself would hold other workers up, if in the end it had no item to start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.worker.rate_limit import RateLimit

__all__ = ["RateGate"]


class RateGate:
    """The gate of one event loop.

    Args:
        rate: What the worker goes by.

    Attributes:
        waited: Seconds in which nothing ran, since it would have been too early, as far as they were not taken.
    """

    def __init__(self, rate: RateLimit) -> None:
        self._rate = rate
        self._turn = asyncio.Lock()
        self._running = 0
        self._idle_since: float | None = None
        self._waiting = False
        self.waited = 0.0

    async def enter(self, wanted: Callable[[], bool]) -> bool:
        """Wait until an item may start; return whether it is still *wanted*: then it must :meth:`leave` at its end."""
        async with self._turn:
            while wanted():
                start = self._rate.reserve()
                try:
                    await self._come(start)
                except asyncio.CancelledError:
                    self._rate.give_back(start)
                    raise
                if self._rate.is_late(start):
                    continue
                if wanted():
                    self._running += 1
                    return True
                self._rate.give_back(start)
        return False

    async def _come(self, start: float) -> None:
        self._waiting, self._idle_since = True, None if self._running else clock.now()
        try:
            while (left := start - clock.now()) > 0:  # noqa: ASYNC110 - the loop's clock may be a little ahead
                await asyncio.sleep(left)
        finally:
            self._waiting = False
            self._note()

    def leave(self) -> None:
        """Take note of the end of an item that had entered."""
        self._running -= 1
        if self._waiting and not self._running:
            self._idle_since = clock.now()

    def _note(self) -> None:
        if self._idle_since is not None:
            self.waited += clock.now() - self._idle_since
            self._idle_since = clock.now() if self._waiting and not self._running else None

    def take_waited(self) -> float:
        """Return, and forget, for how long nothing ran here since it would have been too early."""
        self._note()
        waited, self.waited = self.waited, 0.0
        return waited
