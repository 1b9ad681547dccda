"""From items to chunks.

Items of known number are cut in advance, and where the workers are processes every chunk is pickled before the first
worker starts; the bytes are kept and sent. A lazy iterator is cut, checked and sent as it is drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.input_checks import holds_items
from airflow_joblib.wire.chunk import ItemChunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_joblib.fan_out.chunk_size import Sizes
    from airflow_joblib.wire.chunk import Packer

__all__ = ["cut", "draw"]


def draw(items: Iterable[Any], ahead: int) -> tuple[Sequence[Any], Iterator[Any] | None]:
    """Return the items as a sequence, with what is left of a lazy iterator that gives more than *ahead*."""
    if isinstance(items, range):
        return items, None  # of which any part can be sent as its two ends
    if isinstance(items, Sized) and holds_items(items):
        return list(items), None
    rest = iter(items)
    head = list(itertools.islice(rest, ahead))
    return head, rest if len(head) == ahead else None


def cut(
    indices: Sequence[int], items: Sequence[Any], workers: int, sizes: Sizes, packer: Packer | None
) -> Iterator[ItemChunk]:
    """Cut items of known number into chunks."""
    start = 0
    while start < len(items):
        size = sizes.fit(sizes.part(len(items) - start, workers), packer)
        yield ItemChunk(indices[start : start + size], items[start : start + size], packer)
        start += size
