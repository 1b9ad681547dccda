"""What a run must not leave behind: its processes, sockets, folders, shared memory. What the test has is its own."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from airflow_joblib.system.leftovers import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Before"]

#: Seconds in which all that a run has started has to be gone.
_PATIENCE = 5.0
_FILES = Path("/proc/self/fd")
_MEMORY = ("/memfd:airflow-joblib", f"/dev/shm/{PREFIX}")  # noqa: S108 - looked for, not made
_PLACES = ("/dev/shm", "/tmp")  # noqa: S108 - as above
#: Prefixes of the folders that joblib makes for arrays; the process that has made one is named after it.
_OF_JOBLIB = "joblib_memmapping_folder_"


class Before:
    """What was there before; what has come since is left behind.

    Args:
        but_for: A folder that is the test's own.
    """

    def __init__(self, but_for: Path) -> None:
        self._own = str(but_for)
        self._files = _files()
        self._folders = set(self._left_folders())

    def left(self, workers: Iterable[int]) -> list[str]:
        """Return what has been left, each in a few words.

        Args:
            workers: Process ids of all workers that there were, and of what they were forked from.
        """
        workers = list(workers)
        until = time.monotonic() + _PATIENCE
        while (found := self._left(workers)) and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def _left(self, workers: list[int]) -> list[str]:
        processes = {pid for pid in workers if _runs(pid)}
        folders = sorted(set(self._left_folders()) - self._folders)
        named = [f"process {pid}, {_name(pid)}" for pid in sorted(processes)]
        return [*named, *(_described(link) for link in self._new_files()), *(f"folder {path}" for path in folders)]

    def _new_files(self) -> list[str]:
        new = {number: link for number, link in _files().items() if self._files.get(number) != link}
        sockets = _sockets_of_runs()
        return [
            link
            for link in new.values()
            if link.startswith(_MEMORY)
            or link.removeprefix("socket:[").removesuffix("]") in sockets
            or (PREFIX in link and not link.startswith(self._own))
        ]

    def _left_folders(self) -> list[str]:
        """Return what lies about that nobody has, and what joblib has made for this process."""
        found = []
        for place in {*_PLACES, tempfile.gettempdir()}:
            found += [str(path) for path in Path(place).glob(f"{_OF_JOBLIB}{os.getpid()}_*")]
            found += [str(path) for path in Path(place).glob(f"{PREFIX}*") if _is_orphan(path)]
        return [path for path in found if path != self._own]


def _runs(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _name(pid: int) -> str:
    with suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())[:80]
    return "which has just ended"


def _files() -> dict[str, str]:
    """Return what each open descriptor of this process leads to."""
    found = {}
    for number in os.listdir(_FILES) if _FILES.exists() else ():  # noqa: PTH208 - names, not paths
        with suppress(OSError):
            found[number] = str((_FILES / number).readlink())
    return found


def _sockets_of_runs() -> set[str]:
    """Return the inodes of the Unix sockets that have a path of ours."""
    found = set()
    with suppress(OSError):
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            *_, inode, path = [*line.split(maxsplit=7), ""][:8]
            if PREFIX in path:
                found.add(inode)
    return found


def _described(link: str) -> str:
    if link.startswith("socket:"):
        return f"open {link}"
    return f"shared memory {link}" if link.startswith(_MEMORY) else f"open file {link}"


def _is_orphan(path: Path) -> bool:
    """Return whether nobody has a lock on it: else it is another process's, and still in use."""
    with suppress(OSError):
        if path.lstat().st_uid != os.geteuid():
            return False
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True
    return False
