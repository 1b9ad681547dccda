"""Workers that are gone before they gave back their items, and those that must be ended for an item that is overdue."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import BEYOND, DRAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_joblib.wire.status_board import Running, StatusBoard

__all__ = ["Dead", "LostWorkersError", "Watchdog", "ending"]

#: Seconds between two looks at the memory that workers use.
_SAMPLE = 0.5


class Dead(NamedTuple):
    """A worker process that has ended.

    Attributes:
        pid: Its process id.
        exit_code: Its exit code, negative for a signal; None where it isn't known.
        item: Position of the one that it ran; None between two chunks.
        memory: Bytes of memory that it used when last seen; None if it never was.
        overdue: Whether it was ended because the item took too long.
        whole: Whether it may have been any item of the chunk that begins with that one.
    """

    pid: int
    exit_code: int | None
    item: int | None = None
    memory: int | None = None
    overdue: bool = False
    whole: bool = False


class LostWorkersError(Exception):
    """Workers have ended, and the pool with them. Strictly private: the run goes on with another pool.

    Attributes:
        backend: Name of the backend.
        dead: The workers.
        unfinished: The chunks that nobody gives back any more.
        goes_on: Whether the pool has other workers, and the run goes on with it.
    """

    def __init__(self, backend: str, dead: list[Dead], unfinished: list[Any], *, goes_on: bool = False) -> None:
        super().__init__(backend, dead)
        self.backend = backend
        self.dead = dead
        self.unfinished = unfinished
        self.goes_on = goes_on


class Watchdog:
    """Looks at the workers of a pool now and then.

    Args:
        status_board: What they run.
        limit: Seconds that a try of an item may take; None for any.
        drain: Whether the other workers get a moment to hand back what they have before one is ended.

    Attributes:
        overdue: Process ids of workers that are to be ended.
    """

    def __init__(self, status_board: StatusBoard, limit: float | None, *, drain: bool = True) -> None:
        self._status_board = status_board
        self._drain = drain
        self._limit = limit
        self._memory: dict[int, int] = {}
        self._sampled = 0.0
        self._since = 0.0
        self._killed: dict[int, Running] = {}
        self.overdue: set[int] = set()

    def look(self, processes: Mapping[int, Any], under_way: int) -> None:
        """See how much memory they use, and end the overdue ones once no other chunk of the *under_way* is left."""
        now = clock.now()
        if now - self._sampled >= _SAMPLE:
            self._sampled = now
            for pid in processes:
                with suppress(psutil.Error, KeyError):
                    # A process that has just ended is reported to use none.
                    self._memory[pid] = psutil.Process(pid).memory_info().rss or self._memory[pid]
        if self._limit is not None:
            self._end_overdue(now, under_way)

    def _end_overdue(self, now: float, under_way: int) -> None:
        assert self._limit is not None  # noqa: S101 - as the caller saw
        latest = (now - self._limit - BEYOND) * 1e9
        running = self._status_board.running()
        found = {
            pid for pid, run in running.items() if not run.whole and run.since <= latest and pid not in self._killed
        }
        if self._drain and bool(found) != bool(self.overdue):
            self._since = now
            self._status_board.halt(on=bool(found))
        self.overdue = found
        if found and (not self._drain or now - self._since >= DRAIN or under_way <= len(found)):
            for pid in found:
                self._killed[pid] = running[pid]
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def dead(self, pid: int, exit_code: int | None) -> Dead:
        """Return what is known of a worker that has ended."""
        running = self._killed.get(pid) or self._status_board.running().get(pid)
        memory, overdue = self._memory.get(pid), pid in self._killed
        if running is None:
            return Dead(pid, exit_code, None, memory, overdue)
        return Dead(pid, exit_code, running.item, memory, overdue, running.whole)


def ending(code: int | None) -> str:
    """Say how a process ended, from its exit code."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"left with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
