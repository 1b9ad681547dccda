"""A folder of this machine for the files of checkpoints, which its owner alone may read and write to."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import InvalidOptionError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalFolder"]

_UNSAFE = (
    "The checkpoint in {folder} is not loaded: {why}, and loading it would run whatever they have put there. Nothing "
    "has run. Remove the folder, give it to this user alone (chown, chmod 700), or name another place with checkpoint=."
)
#: How often another task may remove a folder above, empty as yet, before it can be written to.
_RACES = 100


class LocalFolder:
    """A folder of this machine, which only its owner may read.

    Args:
        path: The folder; need not be there yet.
        depth: How many folders, this one included, are a checkpoint's own and go when they are empty.
    """

    slow = False

    def __init__(self, path: Path, depth: int = 1) -> None:
        self.path = path
        self.depth = depth

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Check that the folder, and those above it that are a checkpoint's own, are this user's alone to write to.

        Raises:
            InvalidOptionError: One isn't. To load a file of someone else's would run what they like.
        """
        for folder in (self.path, *self.path.parents)[: self.depth]:
            try:
                found = folder.stat()
            except OSError:  # it isn't there, or can't be read from either, which is reported then
                continue
            if why := _why_not_ours(found):
                raise InvalidOptionError(_UNSAFE.format(folder=folder, why=why))

    def root(self) -> LocalFolder:
        """Return the folder below which this one and those of other calls are."""
        return LocalFolder(self.path.parents[self.depth - 1], 0)

    def names(self) -> list[str]:
        """Return the names of all files, none if the folder isn't there."""
        try:
            with os.scandir(self.path) as entries:
                return [entry.name for entry in entries if not entry.is_dir()]
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            PermissionError: It is another user's, or others may write to it.
        """
        with (self.path / name).open("rb") as file:
            if why := _why_not_ours(os.fstat(file.fileno())):
                raise PermissionError(why)
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """Write a new file under a name of its own, and rename it when it is whole.

        It isn't synced: what the kernel has been given outlives the process, and what a crash of the machine tears is
        found by its checksum.
        """
        temporary = self.path / f"{name}.{secrets.token_hex(4)}.tmp"
        for _ in range(_RACES):
            try:
                _write_private(temporary, data)
                break
            except FileNotFoundError:
                with contextlib.suppress(FileNotFoundError):
                    _make_private(self.path)
        else:
            _write_private(temporary, data)
        temporary.replace(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, then those above it that were made with it."""
        with contextlib.suppress(OSError):
            for folder in (self.path, *self.path.parents)[: self.depth]:
                folder.rmdir()


def _why_not_ours(found: os.stat_result) -> str:
    """Return why others can have written a file, or to a folder; empty if they can't."""
    if found.st_uid != os.geteuid():
        return f"it belongs to another user, {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than its owner may write to it, mode {stat.S_IMODE(found.st_mode):04o}"
    return ""


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except BaseException:
        path.unlink(missing_ok=True)  # half a file is of no use, and the disk may be full
        raise


def _make_private(path: Path) -> None:
    """Make a folder and what is missing above it, each for the owner alone."""
    if not path.parent.exists():
        _make_private(path.parent)
    with contextlib.suppress(FileExistsError):  # another made it, and may have removed it by now
        path.mkdir(mode=0o700)
