"""How worker processes end: asked to leave, what they started found, what they held freed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

import psutil

from airflow_joblib.pool import WATCH

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["end", "free_locks", "kill", "offspring"]


def offspring(workers: list[Any]) -> list[psutil.Process]:
    """Return what the workers' items have started and not ended."""
    family, found = {process.pid for process in workers}, []
    for process in psutil.Process().children(recursive=True):  # one scan of all processes, parents before children
        with suppress(psutil.NoSuchProcess):
            if process.pid not in family and process.ppid() in family:
                family.add(process.pid)
                found.append(process)
    return found


def end(workers: list[Any], patience: float) -> None:
    """Ask until all have left or *patience*, in seconds, is over; then kill those that have not.

    More than once, since between two items a worker's pool may catch what unwinds it. Waits for sentinels, since
    whoever waits for the process itself takes its exit status from its pool.
    """
    alive, until = {process.sentinel: process for process in workers}, time.monotonic() + patience
    while alive and time.monotonic() < until:
        for process in alive.values():
            process.terminate()
        for sentinel in connection.wait(list(alive), timeout=WATCH):
            del alive[sentinel]
    kill(alive.values())


def kill(processes: Iterable[Any]) -> None:
    """Kill processes; loky's have no method for it."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def free_locks(pool: Any) -> None:
    """Free what a multiprocessing pool's workers held when they ended; to end it, the pool waits for that for ever.

    Also where it is free: the worker that was to be woken for it may have been killed in that moment, and nobody else
    is woken before it is released again.
    """
    for queue, name in (("_inqueue", "_rlock"), ("_outqueue", "_wlock")):
        with suppress(AttributeError, ValueError):
            lock = getattr(getattr(pool, queue), name)
            lock.acquire(block=False)
            lock.release()
