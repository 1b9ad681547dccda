"""Temporary files and folders that show by a lock whether anybody still has them.

The lock (``flock(2)``) goes with the last process that has it, a fork of the task's among them, however that ends. What
nobody has a lock on was left by a task that was killed with all its helpers: the next one on this machine removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PREFIX", "make_file", "make_folder", "sweep"]

#: How all that has such a lock begins; nothing else may.
PREFIX = "airflow-joblib-run-"

#: Places that this process has swept.
_swept: set[str] = set()


def make_file(place: str) -> tuple[int, str]:
    """Make a file there for this user alone, and return its descriptor, which holds the lock, and its path."""
    _sweep_once(place)
    while True:
        file, path = tempfile.mkstemp(prefix=PREFIX, dir=place)
        if _locked(file):
            return file, path
        os.close(file)


def make_folder(place: str) -> tuple[int, str]:
    """Make a folder there for this user alone, and return a descriptor, which holds the lock, and its path."""
    _sweep_once(place)
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        with suppress(FileNotFoundError):  # somebody has swept it, who came before the lock
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if _locked(file):
                return file, path
            os.close(file)


def _locked(file: int) -> bool:
    """Lock what was just made, and return whether it is still there."""
    fcntl.flock(file, fcntl.LOCK_EX)
    return os.fstat(file).st_nlink > 0


def _sweep_once(place: str) -> None:
    if place not in _swept:
        _swept.add(place)
        sweep(place)


def sweep(place: str) -> None:
    """Remove what tasks of this user have left there that were killed."""
    for path in _ours(place):
        with suppress(OSError):  # somebody has it, or has just removed it
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(file)


def _ours(place: str) -> Iterator[Path]:
    with suppress(OSError):
        for path in Path(place).glob(f"{PREFIX}*"):
            with suppress(OSError):
                if path.lstat().st_uid == os.geteuid():
                    yield path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
