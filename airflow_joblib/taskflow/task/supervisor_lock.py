"""Requests to the supervisor, from threads and event loops.

With 3.1's line, which has no lock, threads would swap replies. And the line's own ``asend`` holds its lock while it
waits for a thread of the loop's executor, all of which may wait for that lock; nor can two loops share it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["InTurn", "keep_turns", "requests_in_turn"]


class OffLoop:
    """The task's line to its supervisor, for event loops.

    Args:
        line: The line itself.

    Attributes:
        line: The line itself.
        runs: How many runs need it in its place.
        stays: Whether it stays there when they are over.
    """

    def __init__(self, line: Any) -> None:
        self.line = line
        self.runs = 0
        self.stays = False

    def send(self, msg: Any) -> Any:
        """Send a request and wait for the reply."""
        return self.line.send(msg)

    async def asend(self, msg: Any) -> Any:
        """Do the same in a thread."""
        return await asyncio.to_thread(self.send, msg)

    def is_free(self) -> bool:
        """Return whether nobody waits for a reply that another could take."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.line, name)


class InTurn(OffLoop):
    """The task's line to its supervisor, used by one thread at a time.

    Args:
        line: The line itself.
    """

    def __init__(self, line: Any) -> None:
        super().__init__(line)
        self._turn = threading.RLock()  # since a signal's handler may send one in the midst of a request

    def send(self, msg: Any) -> Any:
        """Send a request and wait for the reply."""
        with self._turn:
            return self.line.send(msg)

    def is_free(self) -> bool:
        """Return whether no other thread waits for a reply."""
        if self._turn.acquire(blocking=False):
            self._turn.release()
            return True
        return False


#: Held while a run begins or ends.
_lock = threading.Lock()


@contextmanager
def requests_in_turn() -> Iterator[None]:
    """Let threads take turns at the supervisor's line, where it doesn't do so itself, and event loops share it.

    Several runs of one task may need that at a time: it ends with the last of them.
    """
    shared = _shared()
    try:
        yield
    finally:
        if shared is not None:
            _give_back(shared)


def _shared() -> OffLoop | None:
    """Return the line for threads and loops, put in place now if it is not; None where the task has no such line."""
    if not isinstance(airflow_internals.supervisor(), airflow_internals.CommsDecoder | OffLoop):
        return None
    with _lock:
        line = airflow_internals.supervisor()
        if isinstance(line, airflow_internals.CommsDecoder):
            line = OffLoop(line) if airflow_internals.takes_turns(line) else InTurn(line)
            airflow_internals.set_supervisor(line)
        line.runs += 1
        return line  # type: ignore[no-any-return]


def _give_back(shared: OffLoop) -> None:
    with _lock:
        shared.runs -= 1
        # If not free a record is still being written, whose reply the task would take.
        if not shared.runs and not shared.stays and shared.is_free():
            airflow_internals.set_supervisor(shared.line)


def keep_turns() -> None:
    """Let threads go on taking turns for as long as the task lasts: one of them may send something at any time."""
    line = airflow_internals.supervisor()
    if isinstance(line, InTurn):
        line.stays = True
