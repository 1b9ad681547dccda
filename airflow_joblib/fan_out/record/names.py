"""What the few items are called that a record shows: named when it is needed, since most never are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from airflow_joblib.fan_out.shown import Shown
    from airflow_joblib.wire.chunk import ItemChunk

__all__ = ["ItemNames"]


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

    def keep(self, index: int, chunk: ItemChunk) -> None:
        """Be ready to name an item."""
        if self._items is None:
            with self._lock:
                self._kept[index] = chunk.items[chunk.indices.index(index)]

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
            item = self._kept[index] if self._items is None else self._items[index]
        name = self._shown.item(item)  # which may take long, and the run goes on meanwhile
        with self._lock:
            self._names[index] = name
        return name
