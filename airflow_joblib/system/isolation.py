"""What Linux can do for a process alone (``prctl(2)``): keep others of its user out of it, and end it with its parent.

Airflow 3.3 has its tasks be closed to others ("not dumpable"). A fork stays so; a program that is started anew is open
until it sets otherwise.
"""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["adopt_orphans", "close_to_others", "end_with_parent", "open_to_others"]

_PR_SET_PDEATHSIG, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 3, 4, 36


def open_to_others() -> bool:
    """Return whether other processes of this user may look into this one, and open its files through ``/proc``."""
    return _prctl(_PR_GET_DUMPABLE) != 0


def close_to_others() -> None:
    """Have the kernel keep other processes of this user out of this one, where it can."""
    _prctl(_PR_SET_DUMPABLE)


def end_with_parent(by: signal.Signals = signal.SIGKILL) -> bool:
    """Have the kernel kill this process when the thread ends that has started it, and return whether it will."""
    return _prctl(_PR_SET_PDEATHSIG, by) == 0


def adopt_orphans() -> bool:
    """Have descendants whose parents end become children of this process, and return whether they will."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0


def _prctl(option: int, value: int = 0) -> int | None:
    """Return what the kernel answers; None where it is not to be called."""
    if sys.platform != "linux":
        return None
    try:
        return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0))
    except (AttributeError, OSError):
        return None
