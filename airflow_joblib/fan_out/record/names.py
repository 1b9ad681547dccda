"""What the few items are called that a record shows: named when it is needed, since most never are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from airflow_joblib.fan_out.shown import Shown
    from airflow_joblib.wire.chunk import ItemChunk

__all__ = ["ItemNames"]

#: Seconds from which on an item of a lazy input is named at once. Quicker ones are kept until then, as they are small.
_SLOW = 0.01


class ItemNames:
    """Names items by their position in the input.

    Args:
        shown: Makes the name of an item.
        items: All items; None where they come from a lazy input, which keeps none.
    """

    def __init__(self, shown: Shown, items: Sequence[Any] | None) -> None:
        self._shown = shown
        self._items = items
        self._kept: dict[int, Any] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def keep(self, index: int, seconds: float, chunk: ItemChunk) -> None:
        """Be ready to name an item that has taken so long."""
        if self._items is not None:
            return
        with self._lock:
            if index in self._names:
                return
            item = chunk.items[chunk.indices.index(index)]
            if seconds < _SLOW:
                self._kept[index] = item
            else:
                self._names[index] = self._shown.item(item)

    def keep_only(self, indices: Container[int]) -> None:
        """Forget all other items."""
        with self._lock:
            for known in (self._kept, self._names):
                for index in [index for index in known if index not in indices]:
                    del known[index]

    def name(self, index: int) -> str:
        """Return what an item is called; nothing, if slower ones have taken its place meanwhile."""
        with self._lock:
            if index in self._names:
                return self._names[index]
            if self._items is None and index not in self._kept:
                return ""
            item = self._kept.pop(index) if self._items is None else self._items[index]
            self._names[index] = name = self._shown.item(item)
            return name
