"""Chunks of an asynchronous function whose items have a report of their own, while they run among others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.records import Report
    from airflow_joblib.worker.async_items import AsyncItems
    from airflow_joblib.worker.collector import Collector

__all__ = ["AsyncChunk", "AsyncChunks"]


class AsyncChunk:
    """Items that are reported together, when each of them has ended or was handed back.

    Args:
        indices: Their positions in the input.
        collector: Makes the report.
        done: Takes the positions of the items that have ended, and the report.

    Attributes:
        collector: What the items' ends are entered in.
        first: Position of the first item.
        left: Positions of the items that have not ended.
        until: When those that have not started are to be handed back, by the machine's monotonic clock in seconds; None
            as long as none has started.
    """

    def __init__(
        self, indices: Sequence[int], collector: Collector, done: Callable[[Sequence[int], Report], object]
    ) -> None:
        self.collector = collector
        self.first = indices[0]
        self.left = set(indices)
        self.until: float | None = None
        self._indices = indices
        self._done = done

    def finish(self, oldest: AsyncChunk) -> None:
        """Report what there is; *oldest* is the chunk that is under way for the longest time."""
        indices, report = self.collector.take(oldest.collector)
        order = sorted(range(len(indices)), key=indices.__getitem__)
        ended = [indices[place] for place in order]
        report.values = [report.values[place] for place in order]
        if ended != list(self._indices[: len(ended)]):  # others were cancelled
            report.positions = ended
        self._done(ended, report)


class AsyncChunks:
    """The chunks under way in a worker."""

    def __init__(self) -> None:
        self._chunks: list[AsyncChunk] = []
        self._by_index: dict[int, AsyncChunk] = {}

    def add(self, chunk: AsyncChunk) -> None:
        """Add a chunk."""
        self._chunks.append(chunk)
        self._by_index.update(dict.fromkeys(chunk.left, chunk))

    def of(self, index: int) -> AsyncChunk | None:
        """Return, once, the chunk of an item; None where it is reported with others."""
        return self._by_index.pop(index, None)

    def take_out(self, chunk: AsyncChunk, indices: Sequence[int]) -> None:
        """Take items out of a chunk, which is reported after the last."""
        chunk.left.difference_update(indices)
        if not chunk.left and chunk in self._chunks:
            oldest = self._chunks[0]
            self._chunks.remove(chunk)
            chunk.finish(oldest)

    def hand_back(self, items: AsyncItems, seconds: float) -> None:
        """Hand back items that have not started so many seconds after the first ones of their chunk.

        Items start in the order in which they came: of those that wait, the chunk of the first is the one that has
        begun, if any.
        """
        chunk = self._by_index.get(items.next_index)
        if chunk is None or items.next_index == chunk.first:
            return
        if chunk.until is None:
            chunk.until = clock.now() + seconds
        elif clock.now() > chunk.until:
            self._drop(items, chunk)

    def hand_all_back(self, items: AsyncItems) -> None:
        """Hand back all items that have not started."""
        for chunk in tuple(self._chunks) if items.waiting else ():
            self._drop(items, chunk)

    def _drop(self, items: AsyncItems, chunk: AsyncChunk) -> None:
        dropped = items.drop(chunk.left)
        for index in dropped:
            del self._by_index[index]
        if dropped:
            self.take_out(chunk, dropped)

    async def end(self, items: AsyncItems, seconds: float) -> None:
        """Cancel what runs, give it so many seconds to clean up, and report what there is of each chunk."""
        if self._chunks:
            await items.close(seconds)
        while self._chunks:
            oldest = self._chunks.pop(0)
            oldest.finish(oldest)
        self._by_index.clear()
