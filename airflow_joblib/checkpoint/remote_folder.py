"""A folder for the files of checkpoints that fsspec reaches."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from airflow_joblib.system.credentials import without_credentials

__all__ = ["RemoteFolder"]


class RemoteFolder:
    """A folder that fsspec reaches.

    Files go by its file system rather than by a path's own methods: Airflow's record every file as an asset.

    Args:
        path: A ``UPath`` or Airflow's ``ObjectStoragePath``.
        depth: How many folders, this one included, are a checkpoint's own and go when they are empty.
    """

    slow = True

    def __init__(self, path: Any, depth: int = 1) -> None:
        self.shown = without_credentials(str(path))
        self.files: Any = path.fs
        self.path = str(path.path).rstrip("/")
        self.depth = depth
        #: An object store has buckets and names, but no folders; making one may make the bucket.
        self.has_folders = not str(path.drive).strip("/")

    def __str__(self) -> str:
        return self.shown

    def below(self, parts: tuple[str, ...]) -> RemoteFolder:
        """Return a folder below this one, whose own folders are those of *parts*."""
        folder = copy.copy(self)
        folder.shown = "/".join([self.shown.rstrip("/"), *parts])
        folder.path = "/".join([self.path, *parts])
        folder.depth = len(parts)
        return folder

    def root(self) -> RemoteFolder:
        """Return the folder below which this one and those of other calls are."""
        folder = copy.copy(self)
        folder.shown, folder.path = (text.rsplit("/", self.depth)[0] for text in (self.shown, self.path))
        folder.depth = 0
        return folder

    def check(self) -> None:
        """Check nothing: who may write there is the storage's own affair."""

    def names(self) -> list[str]:
        """Return the names of all files, none if the folder isn't there."""
        return [name for name, kind in self._entries(self.path) if kind == "file"]

    def _entries(self, path: str) -> list[tuple[str, str]]:
        self.files.invalidate_cache()  # another process may have written
        try:
            found = self.files.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"]) for entry in found]

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return bytes(self.files.cat_file(f"{self.path}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a new file; most object stores show it when it is whole."""
        try:
            self.files.pipe_file(f"{self.path}/{name}", data)
        except FileNotFoundError:
            if not self.has_folders:
                raise
            self.files.makedirs(self.path, exist_ok=True)
            self.files.pipe_file(f"{self.path}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(f"{self.path}/{name}")

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, then those above it that were made with it."""
        path = self.path
        for _ in range(self.depth if self.has_folders else 0):
            if not self.files.isdir(path) or self._entries(path):  # some remove a folder with all that is in it
                return
            self.files.rmdir(path)
            path = path.rpartition("/")[0]
