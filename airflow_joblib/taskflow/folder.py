"""Folders for the Unix sockets of a run: for this user alone, and gone whatever becomes of the task."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from joblib.externals.loky.backend import resource_tracker

from airflow_joblib.lean import start

__all__ = ["make", "remove"]

#: The longest path of a Unix socket is 103 bytes on macOS, 107 on Linux.
_LONGEST = 103


def make(name: str) -> Path:
    """Make a fresh folder, mode 0700, for a socket called *name*.

    joblib's tracker removes it if this process is killed. Where the usual place for temporary files has too long a path
    for a socket, it is in ``/tmp``.
    """
    folder = tempfile.mkdtemp(prefix="airflow-joblib-")
    if len(os.fsencode(folder)) + 1 + len(name) > _LONGEST:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix="airflow-joblib-", dir="/tmp")
    start.tracker()
    resource_tracker.register(folder, "folder")
    return Path(folder)


def remove(folder: Path) -> None:
    """Remove a folder that :func:`make` made."""
    shutil.rmtree(folder, ignore_errors=True)
    resource_tracker.unregister(str(folder), "folder")
