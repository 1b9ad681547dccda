"""The files of one call: written once and merged by tiers, so that a long run leaves dozens and not thousands."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_joblib.checkpoint.digests import FUNCTION_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_joblib.checkpoint.folders import Folder

__all__ = ["Segments", "finished_items", "is_segment", "newest"]

#: Files of one tier that are merged into one of the next.
TIER = 16
#: Bytes beyond which a file is not merged any more: the work of merging would show.
LARGEST = 2 << 20
#: Files that are read at a time where each takes its time.
READERS = 8

#: Seconds after which a checkpoint that is read is marked as in use: far less than the day that each is kept at least.
_FRESH = 3600

_NAME = re.compile(r"(?P<key>[0-9a-f]{48})-\d-[0-9a-f]{16}-(?P<items>\d+)-[0-9a-f]+-[0-9a-f]{8}\.items")
_UNFINISHED = re.compile(r"(?P<key>[0-9a-f]{48})-.*\.items\.[0-9a-f]{8}\.tmp")


@dataclass(slots=True)
class Segments:
    """The files of one call in a folder.

    Attributes:
        folder: Where they are.
        key: The call's key, with which their names begin.
        others: Finished items of the same function with other shared arguments, as :meth:`read` has seen them.
        foreign: Names of files that are nobody's, as :meth:`read` has seen them.
    """

    folder: Folder
    key: str
    others: int = 0
    foreign: list[str] = field(default_factory=list)
    _tiers: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def read(self) -> Iterator[tuple[str, bytes | Exception]]:
        """Yield name and content of each file of the call, the oldest first, or why it can't be read."""
        names = sorted(self._own_names(), key=_order)
        if names and time.time() - newest(names) > _FRESH:
            with contextlib.suppress(Exception):  # it may be read all the same
                self._write(b"", 0, 0)  # in use again, so not to be taken for old
        if not self.folder.slow:
            yield from zip(names, map(self._content, names), strict=True)
            return
        with ThreadPoolExecutor(READERS) as readers:
            yield from zip(names, readers.map(self._content, names), strict=True)

    def _content(self, name: str) -> bytes | Exception:
        try:
            return self.folder.read(name)
        except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
            return error

    def _own_names(self) -> list[str]:
        own = []
        for name in self.folder.names():
            found = _NAME.fullmatch(name)
            if found and found["key"] == self.key:
                own.append(name)
            elif found and found["key"][:FUNCTION_DIGITS] == self.key[:FUNCTION_DIGITS]:
                self.others += int(found["items"])
            elif not found and not _UNFINISHED.fullmatch(name):
                self.foreign.append(name)
        return own

    def note_intact(self, name: str, size: int) -> None:
        """Note that a file that was read is as it should be, and so may be merged with others."""
        if size < LARGEST:
            self._tiers[_tier(name)].append(name)

    def write(self, data: bytes, items: int) -> None:
        """Write a new file with the frames of so many items, and merge what has come together."""
        self._write(data, items, 0)
        for tier in range(9):
            if len(self._tiers[tier]) >= TIER:
                self._merge(tier)

    def _write(self, data: bytes, items: int, tier: int) -> None:
        unique = f"{os.getpid():x}-{secrets.token_hex(4)}"
        name = f"{self.key}-{tier}-{time.time_ns():016x}-{items}-{unique}.items"
        self.folder.write(name, data)
        self.note_intact(name, len(data))

    def _merge(self, tier: int) -> None:
        """Merge files of a tier; if this ends half-way their frames are there twice, and are known by their ids."""
        names, self._tiers[tier] = self._tiers[tier], []
        with contextlib.suppress(Exception):  # then they stay as they are, which is no worse than many files
            data = b"".join(self.folder.read(name) for name in names)
            self._write(data, sum(map(_items, names)), tier + 1)
            for name in names:
                self.folder.remove(name)

    def clear(self, *, others: bool, before: float = math.inf, left: bytes = b"", items: int = 0) -> bool:
        """Remove the call's files, or those of all calls, and the folder if it is empty then.

        Args:
            others: Remove those of all calls.
            left: Frames that are to stay, in a new file.
            items: How many items they are of.
            before: Remove none where one was written at this time, in seconds since 1970, or later. What is written
                from now on stays in any case.

        Returns:
            Whether they were removed.
        """
        found = [_NAME.fullmatch(name) or _UNFINISHED.fullmatch(name) for name in self.folder.names()]
        names = [match.string for match in found if match and (others or match["key"] == self.key)]
        if names and before < math.inf and newest(names) >= before:
            return False
        self._tiers.clear()
        if left:
            self._write(left, items, 0)
        for name in names:
            self.folder.remove(name)
        self.folder.remove_empty()
        return True


def is_segment(name: str) -> bool:
    """Return whether a file of this name is one of a checkpoint."""
    return _NAME.fullmatch(name) is not None


def finished_items(names: Iterable[str]) -> int:
    """Return how many finished items the files of these names hold."""
    return sum(map(_items, names))


def newest(names: Iterable[str]) -> float:
    """Return when the last of the files of these names was written, in seconds since 1970."""
    return max(int(_order(name).split("-")[0], 16) for name in names) / 1e9


def _order(name: str) -> str:
    return name.split("-", 2)[2]


def _tier(name: str) -> int:
    return int(name.split("-")[1])


def _items(name: str) -> int:
    return int(name.split("-")[3])
