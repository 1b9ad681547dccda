"""From items to chunks: how many go into a chunk, and their check before any is sent.

Items of known number are cut in advance, and where the workers are processes every chunk is pickled before the first
worker starts; the bytes are kept and sent. A lazy iterator is cut, checked and sent as it is drawn.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Iterable, Iterator, MappingView, Sized
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import explain_items
from airflow_joblib.pickling.by_name import dumps_by_name
from airflow_joblib.pickling.pickler import checked, dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_joblib.exceptions import Culprit
    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["ItemChunk", "Packer", "Sizes", "cut", "draw", "load_items"]

#: Aim of one chunk: long enough to hide the cost of sending it, short enough to spread the end evenly.
_TARGET_SECONDS = 0.1
_MOST_ITEMS = 4096
#: Work that is worth a dispatch, which takes a process some 0.2 ms, and a moment until the other one has its turn.
_LEAST_SECONDS = 0.001
#: The same for items that take less than this; of others one that turns out slow would hold too many up.
_QUICK, _LEAST_OF_QUICK = 1e-4, 0.005
#: What chunks for a cluster are joined to, at most: a part of what a worker works until it hands back the rest.
_PART_OF_SLICE = 0.75
#: The same in items, as long as nobody knows how long they take.
_MOST_UNKNOWN = 1000
#: What part of a worker's share of what is left goes into a chunk, as its denominator; the same for a cluster.
_PARTS, _PARTS_AWAY = 8, 32
#: The most items of such a part for a cluster, so that what is joined of them is near to what is wanted.
_MOST_AWAY = 250
#: Bytes of one pickled chunk beyond which chunks are made smaller.
_MOST_BYTES = 16 << 20
_FIRST_ITEMS = 32


def draw(items: Iterable[Any], ahead: int) -> tuple[Sequence[Any], Iterator[Any] | None]:
    """Return the items as a sequence, with what is left of a lazy iterator that gives more than *ahead*."""
    if isinstance(items, range):
        return items, None  # of which any part can be sent as its two ends
    if isinstance(items, Sized) and _holds_them(items):
        return list(items), None
    rest = iter(items)
    head = list(itertools.islice(rest, ahead))
    return head, rest if len(head) == ahead else None


def _holds_them(items: object) -> bool:
    """Return whether a sized input holds its items; a progress bar or a data loader makes them one by one."""
    return hasattr(type(items), "__getitem__") or isinstance(items, AbstractSet | MappingView)


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
        whole._joined, whole._items = chunks, None  # which few ask for
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
            assert self._packer is not None  # noqa: S101 - only process pools ask, and they have one
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

    Attributes:
        shared: What workers have that were forked from this process, which is sent by name; None for others.
        classes: Classes that travel by value, met in items; workers must be sent them with the call.
    """

    def __init__(self, budget: int) -> None:
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
        if not self._keep and self._collect:
            data = checked(chunk.items, self.classes, collect=True)
        elif self.shared is not None:
            data = dumps_by_name(chunk.items, self.shared, verify=True)
        else:
            data = dumps(chunk.items, self.classes, collect=self._collect, verify=True)
        self.item_bytes = max(self.item_bytes, len(data) / len(chunk.items))
        return data

    def fit(self, size: int) -> int:
        """Return *size*, or less where so many items would make a very large chunk."""
        if not self.item_bytes:
            return min(size, _FIRST_ITEMS)
        return max(1, min(size, int(_MOST_BYTES / self.item_bytes)))


class Sizes:
    """How many items go into the next chunk, from what the last ones took.

    Args:
        batch_size: Items per dispatch.
        slice_seconds: Work after which a worker hands back the rest of a chunk.
        dispatch_seconds: Work that is worth a dispatch to a cluster; 0 where the workers are on this machine.
    """

    def __init__(
        self, batch_size: int | Literal["auto"], slice_seconds: float = float("inf"), dispatch_seconds: float = 0.0
    ) -> None:
        self._slice_seconds = slice_seconds
        self._dispatch_seconds = dispatch_seconds
        self._fixed = None if batch_size == "auto" else batch_size
        self._size = 1
        self._each = 0.0

    def fit(self, size: int, packer: Packer | None) -> int:
        """Return *size*, or less where so many items would make a very large chunk and no number was asked for."""
        return size if packer is None or self._fixed else packer.fit(size)

    def part(self, left: int, workers: int) -> int:
        """Return the number of items for the next chunk, of so many that are left.

        If it is for us to say, an eighth of a worker's share of them, so that chunks shrink to single items at the end
        (guided self-scheduling: Polychronopoulos and Kuck, 1987). For a cluster it is less, and several are joined.
        """
        if self._fixed:
            return self._fixed
        if self._dispatch_seconds:
            return max(1, min(left // (_PARTS_AWAY * workers), _MOST_AWAY))
        return max(1, left // (_PARTS * workers))

    def next(self) -> int:
        """Return the number of items for the next chunk of a lazy iterator."""
        return self._fixed or self._size

    def worth(self, left: int | None, workers: int) -> int:
        """Return how many items are worth a dispatch; chunks of fewer are joined.

        Of quick items it is more, but not so many that another worker has none of what is *left*, if that is known.
        """
        if self._fixed:
            return 1
        if self._dispatch_seconds:
            return self._worth_away(1 if left is None else left, workers)
        if not self._each:
            return 1
        least = int((_LEAST_OF_QUICK if self._each < _QUICK else _LEAST_SECONDS) / self._each)
        share = least if left is None else max(left // workers, int(_LEAST_SECONDS / self._each))
        return max(1, min(least, share))

    def _worth_away(self, left: int, workers: int) -> int:
        """For a cluster, where a dispatch is dear: half of a worker's share of what is left, within two bounds.

        Those are what a dispatch is worth, and a little less than what a worker hands back. As long as nothing is
        known it is a quarter: a worker hands back what turns out to be too much.
        """
        if not self._each:
            return max(1, min(left // (4 * workers), _MOST_UNKNOWN))
        wanted = max(left / (2 * workers), self._dispatch_seconds / self._each)
        return max(1, int(min(wanted, _PART_OF_SLICE * self._slice_seconds / self._each)))

    def learn(self, items: int, seconds: float) -> None:
        """Take note of how long a chunk took."""
        if items:
            wanted = int(max(_TARGET_SECONDS, self._dispatch_seconds) * items / max(seconds, 1e-9))
            self._size = max(1, min(wanted, 2 * self._size, _MOST_ITEMS))
            self._each = seconds / items  # 0 where an earlier try has done all: then nothing is known

    def rest(self, left: int, ran: int, seconds: float, workers: int) -> int:
        """Return how many of the items that a worker handed back go at once: what no other worker must wait for.

        Args:
            left: Items handed back.
            ran: Items that it ran.
            seconds: What those took.
            workers: Who shares what is left.
        """
        if self._fixed or not ran:
            return left
        each = max(seconds / ran, 1e-9)
        # A machine that stood still for a moment must not take a chunk of quick items to pieces of one each.
        least, most = -(-left // (8 * workers)), -(-left // (2 * workers))
        return max(least, min(int(self._slice_seconds / 2 / each), most), int(self._dispatch_seconds / each))


def cut(
    indices: Sequence[int], items: Sequence[Any], workers: int, sizes: Sizes, packer: Packer | None
) -> Iterator[ItemChunk]:
    """Cut items of known number into chunks."""
    start = 0
    while start < len(items):
        size = sizes.fit(sizes.part(len(items) - start, workers), packer)
        yield ItemChunk(indices[start : start + size], items[start : start + size], packer)
        start += size
