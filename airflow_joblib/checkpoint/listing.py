"""The checkpoints below a folder: whose each is and how much it holds, by the names of files alone."""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_joblib.checkpoint.folders import Folder, shown_name
from airflow_joblib.checkpoint.local_folder import LocalFolder
from airflow_joblib.checkpoint.remote_folder import RemoteFolder
from airflow_joblib.checkpoint.segments import Segments, finished_items, is_segment, newest
from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Kept", "is_there", "kept_below", "remove"]

#: Folders of a checkpoint of a task: DAG, run, task, map index.
_OF_TASK = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """One checkpoint.

    Attributes:
        folder: Where it is.
        names: Names of the folders that lead to it: a DAG's, a run's, a task's and a map index, or a function's.
        items: Finished items in it.
        added: When the last of them was added, in seconds since 1970.
    """

    folder: Folder
    names: tuple[str, ...]
    items: int
    added: float

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        if len(self.names) != _OF_TASK:
            return f"function {' / '.join(self.names)}"
        dag, run, task, mapped = self.names
        return f"{dag} / {run} / {task}{'' if mapped == 'single' else f' [{mapped}]'}"


def kept_below(root: Any, until: float | None = None) -> Iterator[Kept]:
    """Yield the checkpoints below a folder, those of a task by DAG, run, task and map index.

    Args:
        root: The folder that an option names. Links in it are not followed.
        until: When to stop, by the monotonic clock. Looks then no deeper than a run keeps anything, in any order, and
            not at the folder itself.
    """
    depth = None if until is None else _OF_TASK
    found = _remote(root, depth) if isinstance(root, RemoteFolder) else _local(root, depth)
    for folder, parts, files in found:
        if until is not None and clock.now() > until:
            return
        if depth is not None and not parts:
            continue
        segments = [name for name in files if is_segment(name)]
        if segments:
            whole = parts or tuple(str(root.path).strip("/").split("/"))  # the root may be one itself
            folder.depth = min(len(whole), _own(whole))
            names = tuple(map(shown_name, whole[-_own(whole) :]))
            yield Kept(folder, names, finished_items(segments), newest(segments))


def is_there(root: Any) -> bool:
    """Return whether a folder is there."""
    return bool(root.files.exists(root.path)) if isinstance(root, RemoteFolder) else bool(root.path.exists())


def _own(parts: tuple[str, ...]) -> int:
    """Return how many of the folders that lead to a checkpoint are its own: more may lie above, and stay."""
    return _OF_TASK if parts[-1] == "single" or parts[-1].isdecimal() else 1


def _local(root: Any, depth: int | None) -> Iterator[tuple[LocalFolder | RemoteFolder, tuple[str, ...], list[str]]]:
    for path, folders, files in os.walk(root.path):
        parts = Path(path).relative_to(root.path).parts
        if len(parts) == depth:
            folders.clear()
        random.shuffle(folders)  # so that each has its turn, where there is no time for all
        yield LocalFolder(Path(path), len(parts)), parts, files


def _remote(
    root: RemoteFolder, depth: int | None
) -> Iterator[tuple[LocalFolder | RemoteFolder, tuple[str, ...], list[str]]]:
    root.files.invalidate_cache()
    for path, folders, files in root.files.walk(root.path, maxdepth=None if depth is None else depth + 1):
        random.shuffle(folders)
        below = str(path).rstrip("/").removeprefix(root.path).strip("/")
        parts = tuple(below.split("/")) if below else ()
        yield root.below(parts) if parts else root, parts, _names(files)


def _names(files: Iterable[str]) -> list[str]:
    return [str(name).rpartition("/")[2] for name in files]


def remove(kept: Kept, *, before: float = math.inf) -> bool:
    """Remove the files of a checkpoint, then folders that are empty. What else is there stays.

    Args:
        kept: The checkpoint.
        before: Remove nothing if something was added at this time, in seconds since 1970, or later.

    Returns:
        Whether it was removed.

    Raises:
        InvalidOptionError: The folder is another user's, or others may write to it.
        OSError: A file can't be removed; a remote storage may raise others.
    """
    kept.folder.check()
    return Segments(kept.folder, "").clear(others=True, before=before)
