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
        stays: Whether it stays in its place when the run is over.
    """

    def __init__(self, line: Any) -> None:
        self.stays = False
        self._line = line

    def send(self, msg: Any) -> Any:
        """Send a request and wait for the reply."""
        return self._line.send(msg)

    async def asend(self, msg: Any) -> Any:
        """Do the same in a thread."""
        return await asyncio.to_thread(self.send, msg)

    def is_free(self) -> bool:
        """Return whether nobody waits for a reply that another could take."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)


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
            return self._line.send(msg)

    def is_free(self) -> bool:
        """Return whether no other thread waits for a reply."""
        if self._turn.acquire(blocking=False):
            self._turn.release()
            return True
        return False


@contextmanager
def requests_in_turn() -> Iterator[None]:
    """Let threads take turns at the supervisor's line, where it doesn't do so itself, and event loops share it."""
    line = airflow_internals.supervisor()
    if not isinstance(line, airflow_internals.CommsDecoder):
        yield
        return
    shared = OffLoop(line) if airflow_internals.takes_turns(line) else InTurn(line)
    airflow_internals.set_supervisor(shared)
    try:
        yield
    finally:
        # If not free a record is still being written, whose reply the task would take.
        if not shared.stays and shared.is_free():
            airflow_internals.set_supervisor(line)


def keep_turns() -> None:
    """Let threads go on taking turns for as long as the task lasts: one of them may send something at any time."""
    line = airflow_internals.supervisor()
    if isinstance(line, InTurn):
        line.stays = True
