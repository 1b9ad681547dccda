"""The processes that track what loky and ``multiprocessing`` hold outside of processes, started as ours."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import threading
from contextlib import suppress
from typing import Any

from airflow_joblib.system.internals import gone
from airflow_joblib.system.isolated_start import process
from airflow_joblib.system.isolated_start.reachable import reachable

__all__ = ["tracker"]

_lock = threading.Lock()
#: What would end a tracker before it has begun, and that it ignores from then on.
_IGNORED = (signal.SIGINT, signal.SIGTERM)


def tracker(whose: str = "loky") -> Any:
    """Start the resource tracker of loky, or of ``multiprocessing``, unless it runs, and return its module.

    Raises:
        ParallelTaskError: joblib has it no more.
    """
    name = "joblib.externals.loky.backend.resource_tracker" if whose == "loky" else "multiprocessing.resource_tracker"
    try:
        resource_tracker = importlib.import_module(name)
    except ImportError:
        raise gone("joblib", name) from None
    tracker: Any = getattr(resource_tracker, "_resource_tracker", None)
    with suppress(AttributeError), _lock:
        if tracker._fd is None and tracker._pid is None and reachable():  # noqa: SLF001
            tracker._fd, tracker._pid = _start_tracker(whose)  # noqa: SLF001
    resource_tracker.ensure_running()
    return resource_tracker


def _start_tracker(whose: str) -> tuple[int, int]:
    """Start one as they do themselves, and return where its orders are written, and its process id."""
    read_end, write_end = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # inherited, until it ignores them
    try:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        return write_end, process.start(
            f"{__package__}.resource_tracker", whose, str(read_end), keep=read_end, **streams
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(read_end)
