"""Threads that a fork would lose."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NATIVE", "parent", "used_thread"]

#: A module that starts a thread which is none of Python's, as polars and pyarrow do.
NATIVE = """
import ctypes, logging, os, socket, sys
from airflow_joblib.system import isolation; from airflow_joblib import parallel_task

def use_threads():
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
"""


@contextmanager
def used_thread() -> Iterator[None]:
    """Have a thread that a fork would lose."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="poller")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def parent(_: int) -> int:
    """Which process a worker was forked from."""
    return os.getppid()
