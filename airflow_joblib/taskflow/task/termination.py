"""How a run ends when its task is ended from outside.

Airflow's own answer to SIGTERM is to call the operator's ``on_kill`` and to go on: the task would end as a success. So
while a run lasts the signal ends it, after Airflow's own handler has run. When the supervisor dies nobody
would notify the task at all; the run looks for it and ends as well.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["TaskKilledError", "watched"]

_SIGTERM = "The task was asked to end (SIGTERM); the run was ended, and its workers with it."
_NO_SUPERVISOR = "The supervisor of this task has ended; the run was ended, and its workers with it."


class TaskKilledError(BaseException):
    """The task was ended from outside while its items ran. No ``Exception``: no item may take it for its own.

    Attributes:
        hasty: That what is left to do, such as to write a checkpoint to a storage that is slow, must not take long.
    """

    hasty = True


@contextmanager
def watched() -> Iterator[Callable[[], None]]:
    """Let SIGTERM, and the end of the supervisor, end what runs in this block.

    Gives a function to call now and then, which raises once either has happened: the exception that the signal raises
    may get lost in a destructor, or in code of the user that catches everything.
    """
    supervisor = os.getppid()
    with _sigterm() as was_sent:

        def check() -> None:
            if was_sent():
                raise TaskKilledError(_SIGTERM)
            if os.getppid() != supervisor:
                raise TaskKilledError(_NO_SUPERVISOR)

        yield check
        if was_sent():
            raise TaskKilledError(_SIGTERM)


@contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM raise, once; gives a function that returns whether it has come."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: bool(came)  # only the main thread gets signals; what it does with them is not ours to change
        return
    previous: Any = signal.getsignal(signal.SIGTERM)
    task = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != task:  # a worker, forked a moment ago
            os._exit(128 + number)
        if callable(previous):
            previous(number, frame)
        if not came:  # a second one must not interrupt the clean-up
            came.append(number)
            raise TaskKilledError(_SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, previous)
