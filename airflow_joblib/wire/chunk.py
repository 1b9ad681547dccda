"""The items of one dispatch, and their pickle, which is their check too."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import explain_items
from airflow_joblib.pickling.by_name import dumps_by_name
from airflow_joblib.pickling.pickler import checked, dumps
from airflow_joblib.wire.spread import without_cursor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_joblib.exceptions import Culprit
    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["ItemChunk", "Packer", "load_items"]

#: Bytes of one pickled chunk beyond which chunks are made smaller.
_MOST_BYTES = 16 << 20
_FIRST_ITEMS = 32


class ItemChunk:
    """The items of one dispatch, with their pickle where it was kept.

    Args:
        indices: Positions of the items in the input.
        items: The items.
        packer: Pickles them; None where the workers are threads.
    """

    __slots__ = ("_items", "_joined", "_packer", "indices", "packed")

    def __init__(self, indices: Sequence[int], items: Sequence[Any], packer: Packer | None = None) -> None:
        self.indices = indices
        self.packed: bytes | None = None
        self._items: Sequence[Any] | None = items
        self._packer = packer
        self._joined: Sequence[ItemChunk] = ()

    @classmethod
    def joined(cls, chunks: Sequence[ItemChunk]) -> ItemChunk:
        """Return chunks that follow each other as one, with the pickles that they have."""
        if len(chunks) == 1:
            return chunks[0]
        head, last = chunks[0].indices, chunks[-1].indices
        count = sum(len(chunk.indices) for chunk in chunks)
        indices: Sequence[int] = range(head[0], last[-1] + 1)
        if len(indices) != count:  # with gaps, where an earlier try has done some
            indices = [index for chunk in chunks for index in chunk.indices]
        whole = cls(indices, (), chunks[0]._packer)  # noqa: SLF001
        whole._joined, whole._items = chunks, None  # which few read
        return whole

    @property
    def items(self) -> Sequence[Any]:
        """The items."""
        if self._items is None:
            self._items = [item for chunk in self._joined for item in chunk.items]
        return self._items

    @property
    def first(self) -> int:
        """Position of the first item in the input."""
        return self.indices[0]

    def part(self, start: int, stop: int | None = None) -> ItemChunk:
        """Return some of it as a chunk of its own."""
        return ItemChunk(self.indices[start:stop], self.items[start:stop], self._packer)

    def of(self, positions: Sequence[int]) -> ItemChunk:
        """Return those of its items that are at these positions in the input as a chunk of their own."""
        items = dict(zip(self.indices, self.items, strict=True))
        return ItemChunk(positions, [items[index] for index in positions], self._packer)

    def pieces(self, size: int) -> list[ItemChunk]:
        """Return it in chunks of no more than *size* items, and about as many in each."""
        count = len(self.indices)
        if size >= count:
            return [self]
        size = -(-count // -(-count // size))
        return [self.part(start, start + size) for start in range(0, count, size)]

    @property
    def data(self) -> bytes:
        """The items as one pickle after another: those that the check made, where they were kept."""
        if self._joined:
            return b"".join(chunk.data for chunk in self._joined)
        if self.packed is None:
            assert self._packer is not None  # noqa: S101 - only process pools read this, and they have one
            return self._packer.pack(self)
        return self.packed


def load_items(data: bytes) -> list[Any]:
    """Load the items of a chunk.

    Raises:
        Exception: Whatever loading raises.
    """
    file, items = io.BytesIO(data), []
    while file.tell() < len(data):
        items += pickle.load(file)  # noqa: S301 - the task made it
    return items


class Packer:
    """Pickles chunks, and thereby checks them.

    Args:
        budget: Bytes of pickles to keep; with 0 known items are checked, and not copied for that.
        over: Names of the parameters that an item is spread over: a row of a cursor is sent as its values.

    Attributes:
        shared: What workers have that were forked from this process, which is sent by name; None for others.
        classes: Classes that travel by value, met in items; workers must be sent them with the call.
    """

    def __init__(self, budget: int, over: Sequence[str] = ()) -> None:
        self._over = over
        self.shared: Inherited | None = None
        self.classes: set[type] = set()
        self.culprits: list[Culprit] = []
        self.item_bytes = 0.0
        self._collect = True
        self._keep = self._left = budget

    def start_sending(self) -> None:
        """Stop collecting classes: the workers get those found so far, any later one goes with its chunk."""
        self._collect = False

    def check(self, chunk: ItemChunk) -> None:
        """Pickle a chunk; keep the bytes while there is room, remember what can't travel."""
        try:
            data = self._dumps(chunk)
        except Exception:  # noqa: BLE001 - pickling runs code of the user
            self.culprits += explain_items(chunk.items, chunk.indices)
            return
        if self._keep and len(data) <= self._left:
            self._left -= len(data)
            chunk.packed = data

    def pack(self, chunk: ItemChunk) -> bytes:
        """Pickle a chunk that is due.

        Raises:
            NotPicklableError: An item can't travel.
        """
        with suppress(Exception):  # raised below, outside: its context would show values
            return self._dumps(chunk)
        raise NotPicklableError(explain_items(chunk.items, chunk.indices))

    def _dumps(self, chunk: ItemChunk) -> bytes:
        items = [without_cursor(item, self._over) for item in chunk.items] if self._over else chunk.items
        if not self._keep and self._collect:
            data = checked(items, self.classes, collect=True)
        elif self.shared is not None:
            data = dumps_by_name(items, self.shared, verify=True)
        else:
            data = dumps(items, self.classes, collect=self._collect, verify=True)
        self.item_bytes = max(self.item_bytes, len(data) / len(items))
        return data

    def fit(self, size: int) -> int:
        """Return *size*, or less where so many items would make a very large chunk."""
        if not self.item_bytes:
            return min(size, _FIRST_ITEMS)
        return max(1, min(size, int(_MOST_BYTES / self.item_bytes)))
