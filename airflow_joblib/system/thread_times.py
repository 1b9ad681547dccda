"""How a thread spent its time: running, waiting of its own accord, or waiting for a processor."""

from __future__ import annotations

import resource
import time

from airflow_joblib.system import clock

__all__ = ["ThreadTimes"]

_THREAD = getattr(resource, "RUSAGE_THREAD", None)  # Linux only


class ThreadTimes:
    """Measures from when it is made, in the thread that made it."""

    def __init__(self) -> None:
        self._began = clock.now()
        self._cpu = time.thread_time()
        self._switches = _switches()

    def since(self, without: float = 0.0) -> tuple[float, float, float]:
        """Return the seconds since then, those of processor time, and those waited of its own accord.

        A thread that was mostly interrupted waited for a processor, which it would not have done alone.

        Args:
            without: Seconds that it waited as well, and that are to count for nothing.
        """
        seconds, cpu = clock.now() - self._began - without, time.thread_time() - self._cpu
        own, forced = (now - before for now, before in zip(_switches(), self._switches, strict=True))
        return seconds, cpu, max(0.0, seconds - cpu) if own >= forced else 0.0


def _switches() -> tuple[int, int]:
    """Return how often this thread gave its processor up, and how often it was taken from it."""
    if _THREAD is None:
        return 1, 0
    used = resource.getrusage(_THREAD)
    return used.ru_nvcsw, used.ru_nivcsw
