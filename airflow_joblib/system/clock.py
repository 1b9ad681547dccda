"""The clocks of a run, which go on where a unit test stops those of the :mod:`time` module.

``freezegun``, ``time_machine`` and ``mock.patch`` replace ``time.monotonic``, ``time.time`` and ``time.perf_counter``;
none of them touches this one. A wait by a stopped clock would never end.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from types import BuiltinFunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["for_loops", "now", "now_ns", "pause", "stands_still"]

#: Seconds in which a clock that goes on is seen to.
_TICK = 1e-5

#: Seconds, and nanoseconds, of a clock that all processes of the machine share and that is never set.
now = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
now_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)


def for_loops() -> Callable[[], float]:
    """Return the clock that costs least to read, unless it has been replaced."""
    return time.perf_counter if isinstance(time.perf_counter, BuiltinFunctionType) else now


def pause(seconds: float) -> None:
    """Wait so long, also where ``time.sleep`` has been replaced."""
    threading.Event().wait(seconds)


def stands_still(other: Callable[[], float]) -> bool:
    """Return whether a clock does not go on.

    Its type is no sign: time-machine up to 2.16 replaces the inside of built-in functions.
    """
    until, read = now() + _TICK, other()
    while now() < until:
        pass
    return other() == read
