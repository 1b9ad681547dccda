"""The signals of a worker process: SIGTERM ends the worker, and Ctrl-C is left to the task."""

from __future__ import annotations

import functools
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
#: What the thread that forks had blocked before.
_blocked = threading.local()


def set_up(leave: Callable[[int, FrameType | None], None]) -> None:
    """Have SIGTERM call *leave* in this process, and SIGINT do nothing: the task ends its workers itself.

    SIGINT is handled, not ignored: what an item starts would inherit that, and could not be interrupted.
    """
    global _pid, _leave
    if threading.current_thread() is threading.main_thread():
        _pid, _leave = os.getpid(), leave
        _look_after_forks()
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
    if _leave is not None:
        _leave(number, frame)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    pass


@functools.cache
def _look_after_forks() -> None:
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _before_fork() -> None:
    """Block signals: a handler in Python loses one that reaches the child before it has run at all.

    ``multiprocessing.Pool.terminate()``, which is what leaving a pool does, would then wait for that child for ever.
    """
    if _pid == os.getpid():
        _blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))


def _after_fork() -> None:
    """Undo that."""
    before = _blocked.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child() -> None:
    """Let a process that an item has forked, which holds nothing of the worker's, end as any other."""
    global _pid  # noqa: PLW0603 - the process is not the worker any more
    if "before" not in _blocked.__dict__:
        return
    _pid = 0
    for number, ours, usual in (
        (signal.SIGTERM, _terminated, signal.SIG_DFL),
        (signal.SIGINT, _interrupted, signal.default_int_handler),
    ):
        if signal.getsignal(number) is ours:
            signal.signal(number, usual)
    _after_fork()
