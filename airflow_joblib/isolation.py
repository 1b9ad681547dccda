"""Whether other processes of the same user may look into this one (Linux, ``prctl(2)``: "dumpable").

Airflow 3.3 has its tasks be closed to others. A fork stays so; a program that is started anew is open until it says
otherwise.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["close_to_others", "open_to_others"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def open_to_others() -> bool:
    """Return whether other processes of this user may look into this one, and open its files through ``/proc``."""
    return _prctl(_PR_GET_DUMPABLE) != 0


def close_to_others() -> None:
    """Have the kernel keep other processes of this user out of this one, where it can."""
    _prctl(_PR_SET_DUMPABLE)


def _prctl(option: int) -> int | None:
    """Return what the kernel answers; None where it is not to be asked."""
    if sys.platform != "linux":
        return None
    try:
        return int(ctypes.CDLL(None).prctl(option, 0, 0, 0, 0))
    except (AttributeError, OSError):
        return None
