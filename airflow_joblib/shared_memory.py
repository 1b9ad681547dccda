"""Memory that a task shares with its worker processes, and that ends with them.

A file in memory that has no name: a worker of the same user opens it through the task's own entry in ``/proc``, and
the kernel frees it when the last process that maps it has ended, however that came about. Where others may not look
into that entry, as Airflow has it for its tasks from 3.3 on ("not dumpable", ``prctl(2)``), or where there is no such
thing, it is a file with a name, for this user alone, which joblib's tracker removes if this process is killed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from pathlib import Path
from typing import Self

from joblib.externals.loky.backend import resource_tracker

from airflow_joblib.lean import start

__all__ = ["SharedMemory", "attach"]

_PR_GET_DUMPABLE = 3
#: Where files lie in memory, as long as there is room for them.
_IN_MEMORY = "/dev/shm"  # noqa: S108 - the files there are made by mkstemp
#: Bytes that must be left there for others.
_SPARE = 16 << 20


class SharedMemory:
    """Some bytes of memory, zeroed, that workers reach by a path. A context manager.

    Attributes:
        path: What a worker calls :func:`attach` with.
        memory: The bytes.
    """

    def __init__(self, size: int) -> None:
        """Make *size* bytes, at least one."""
        self._named = not (hasattr(os, "memfd_create") and _open_to_others())
        if self._named:
            self._file, self.path = tempfile.mkstemp(prefix=f"airflow-joblib-{os.getpid()}-", dir=_folder_for(size))
            start.tracker()
            resource_tracker.register(self.path, "file")
        else:
            self._file = os.memfd_create("airflow-joblib")
            self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        os.ftruncate(self._file, size)
        self.memory = mmap.mmap(self._file, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; whoever has attached it keeps it until they end."""
        os.close(self._file)
        if self._named:
            Path(self.path).unlink(missing_ok=True)
            resource_tracker.unregister(self.path, "file")


def _open_to_others() -> bool:
    """Tell whether other processes of this user may open this one's files through ``/proc``."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)
    except (AttributeError, OSError):
        return False


def _folder_for(size: int) -> str | None:
    """Return where a file of *size* bytes lies in memory; None for the usual place, where there is no room."""
    try:
        room = os.statvfs(_IN_MEMORY)
    except OSError:
        return None
    return _IN_MEMORY if room.f_bavail * room.f_frsize > size + _SPARE and os.access(_IN_MEMORY, os.W_OK) else None


def attach(path: str, *, writable: bool = False) -> mmap.mmap:
    """Map in a worker what the task has made.

    Raises:
        OSError: The task has ended, or closed it.
    """
    file = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        return mmap.mmap(file, 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    finally:
        os.close(file)
