"""How worker processes end: sent a signal or a message, what they started found, what they held left."""

from __future__ import annotations

import logging
import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import GRACE, LEAVING, WATCH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_joblib.wire.status_board import StatusBoard

__all__ = ["CLOSE_FAILED", "NOT_LEFT", "check_resources", "end", "ended", "have_left", "kill", "offspring"]

log = logging.getLogger("airflow_joblib")

CLOSE_FAILED = (
    "All items ended well, but a worker did not leave its per_worker resources: leaving one failed, whose traceback is "
    "in the log above, or the worker ended before. What leaving should have done, such as a commit, may not have "
    "happened. Do that in each item."
)
NOT_LEFT = (
    "What per_worker holds was not left in %d of the worker processes, which ended before. What leaving should have "
    "done there, such as a commit, has not happened."
)

#: Seconds between two looks at the status board.
_LOOK = 0.001


def offspring(workers: list[Any]) -> list[psutil.Process]:
    """Return what the workers' items have started and not ended."""
    if all(_childless(process.pid) for process in workers):
        return []
    family, found = {process.pid for process in workers}, []
    for process in psutil.Process().children(recursive=True):  # one scan of all processes, parents before children
        with suppress(psutil.NoSuchProcess):
            if process.pid not in family and process.ppid() in family:
                family.add(process.pid)
                found.append(process)
    return found


def _childless(pid: int) -> bool:
    """Return whether the kernel lists no child of a process; False where it isn't known.

    To scan all processes takes milliseconds, which a call with quick items notices.
    """
    try:
        return not any((thread / "children").read_bytes() for thread in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False


def have_left(workers: list[Any], status_board: StatusBoard) -> bool:
    """Wait until the *workers*, which got a message, have left their resources or ended; False if some don't.

    No signal is sent: an item may have changed what it does, and so may the code that leaves a resource.
    """
    began = clock.now()
    waiting = {process.sentinel: process for process in workers}
    while waiting := _without(status_board.left(), waiting):
        leaving = status_board.leaving()
        all_began = all(process.pid in leaving for process in waiting.values())
        if clock.now() - began > (LEAVING if all_began else GRACE):
            return False
        for sentinel in ended(waiting, _LOOK):
            del waiting[sentinel]
    return True


def _without(pids: set[int], processes: dict[int, Any]) -> dict[int, Any]:
    return {sentinel: process for sentinel, process in processes.items() if process.pid not in pids}


def end(workers: list[Any], status_board: StatusBoard) -> None:
    """Send SIGTERM until all have left or their grace is over; then kill those that have not.

    More than once, since between two items a worker's pool may catch what unwinds it, but not to one that is leaving:
    to leave a resource may change what the signal does. Waits for sentinels, since whoever waits for the process itself
    takes its exit status from its pool.
    """
    alive, until = {process.sentinel: process for process in workers}, clock.now() + GRACE
    while alive and clock.now() < until:
        leaving = status_board.leaving()
        for process in alive.values():
            if process.pid not in leaving:
                process.terminate()
        for sentinel in ended(alive, WATCH):
            del alive[sentinel]
    kill(alive.values())


def ended(sentinels: Iterable[int], seconds: float | None) -> list[int]:
    """Wait so long at most, for ever where that is None, and return the sentinels of processes that have ended.

    ``multiprocessing.connection.wait`` would count the seconds by a clock that may stand still.
    """
    poll = select.poll()
    for sentinel in sentinels:
        poll.register(sentinel, select.POLLIN)
    return [sentinel for sentinel, _ in poll.poll(None if seconds is None else 1000 * seconds)]


def kill(processes: Iterable[Any]) -> None:
    """Kill processes; loky's have no method for it."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def check_resources(status_board: StatusBoard, failed: type[BaseException] | None, *, silent: bool = False) -> None:
    """Raise if resources were not left after a good run; after another one, or where they are not ours, log that.

    Args:
        status_board: What the workers did about them.
        failed: What has ended the run; None for its own good end.
        silent: Whether to raise nothing.

    Raises:
        ParallelTaskError: A worker did not leave what it held.
    """
    number = len(status_board.not_left())
    if number and failed is None and not silent:
        raise ParallelTaskError(CLOSE_FAILED)
    if number:
        log.warning(NOT_LEFT, number)
