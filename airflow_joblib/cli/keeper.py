"""Stands between the check and the process that loads a file, so that nothing which the file starts outlives it.

::

    check ─ fork ─► keeper ─ fork ─► loads the file, and may fork, kill its parent, or leave a daemon
                      └─ once that has ended, or at SIGTERM: kills what is left, and ends as it has ended
"""

from __future__ import annotations

import os
import resource
import signal
import traceback
from contextlib import suppress
from os import _exit  # a file may have put something else in its place
from typing import TYPE_CHECKING, NoReturn

import psutil

from airflow_joblib.system import isolation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["keep"]


def keep(run: Callable[[], object], parent: int) -> NoReturn:
    """Be the keeper: run something in a child, kill what it leaves, and end this process as the child has ended.

    Where the kernel has no subreapers (other than Linux), daemons of the child can't be found.

    Args:
        run: Runs in the child, which ends when it returns or raises.
        parent: Process id of the check. When that ends, all of this does.
    """
    status = 1 << 8
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        isolation.adopt_orphans()
        isolation.end_with_parent(signal.SIGTERM)
        os.setpgid(0, 0)
        child = _start(run, parent)
        signal.signal(signal.SIGTERM, lambda *_: _kill(child))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _, status = os.waitpid(child, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it would be for the child
        _sweep()
    finally:
        _end_like(os.waitstatus_to_exitcode(status))


def _start(run: Callable[[], object], parent: int) -> int:
    """Start the child, unless the check has ended meanwhile."""
    keeper = os.getpid()
    if os.getppid() != parent:
        _exit(1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            isolation.end_with_parent()
            if os.getppid() == keeper:
                run()
                code = 0
        except BaseException:  # noqa: BLE001 - whatever the file has made of this process
            traceback.print_exc()
        finally:
            _exit(code)
    return child


def _sweep() -> None:
    """Kill all that is left of the child's descendants, until there are none."""
    while _has_children():
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _has_children() -> bool:
    """Return whether there is a child; reap those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _kill(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _end_like(code: int) -> NoReturn:
    """End this process by the exit code, or the signal, of another."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the other one has left its own
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    _exit(code if code >= 0 else 1)
