"""The signals of a worker process: SIGTERM ends the worker, and Ctrl-C is left to the task."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["restore", "set_up"]

_pid = 0
_leave: Callable[[int, FrameType | None], None] | None = None


def set_up(leave: Callable[[int, FrameType | None], None]) -> None:
    """Have SIGTERM call *leave* in this process, and SIGINT do nothing: the task ends its workers itself.

    SIGINT is handled, not ignored: what an item starts would inherit that, and could not be interrupted.
    """
    global _pid, _leave
    if threading.current_thread() is threading.main_thread():
        _pid, _leave = os.getpid(), leave
        signal.signal(signal.SIGINT, _interrupted)
        restore()


def restore() -> None:
    """Put back what :func:`set_up` has set for SIGTERM, which an item, ``asyncio`` for it, may have changed or blocked.

    To be called between two chunks. A SIGTERM that was blocked until now arrives here.
    """
    if _pid == os.getpid() and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def _terminated(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _pid:  # an item has forked: that process holds nothing of the worker's, and ends as any other
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    elif _leave is not None:
        _leave(number, frame)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _pid:
        signal.default_int_handler(number, frame)
