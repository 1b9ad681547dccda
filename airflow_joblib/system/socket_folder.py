"""Folders for the Unix sockets of a run: for this user alone, and gone whatever becomes of the task."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from airflow_joblib.system import leftovers
from airflow_joblib.system.isolated_start import trackers

__all__ = ["make", "remove"]

#: The longest path of a Unix socket is 103 bytes on macOS, 107 on Linux.
_LONGEST = 103
#: How many characters the name of such a folder has, with what parts it from others.
_OWN = len(f"/{leftovers.PREFIX}12345678/")

#: The descriptors that hold the folders' locks.
_locks: dict[Path, int] = {}


def make(name: str) -> Path:
    """Make a fresh folder, mode 0700, for a socket called *name*.

    joblib's tracker removes it if this process is killed, or else the next run on this machine does. Where the usual
    place for temporary files has too long a path for a socket, it is in ``/tmp``.
    """
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) + _OWN + len(name) > _LONGEST:
        place = "/tmp"  # noqa: S108 - the folder there is made by mkdtemp
    lock, path = leftovers.make_folder(place)
    folder = Path(path)
    _locks[folder] = lock
    trackers.tracker().register(path, "folder")
    return folder


def remove(folder: Path) -> None:
    """Remove a folder that :func:`make` made."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(_locks.pop(folder))
    trackers.tracker().unregister(str(folder), "folder")
