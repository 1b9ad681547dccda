"""Chunks of an asynchronous function whose items have a report of their own, while they run among others."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        until: When those that have not started are to be handed back, by the machine's monotonic clock in seconds.
        done: Takes the positions of the items that have ended, and the report.

    Attributes:
        collector: What the items' ends are entered in.
        left: Positions of the items that have not ended.
        until: As above.
    """

    def __init__(
        self,
        indices: Sequence[int],
        collector: Collector,
        until: float,
        done: Callable[[Sequence[int], Report], object],
    ) -> None:
        self.collector = collector
        self.left = set(indices)
        self.until = until
        self._indices = indices
        self._done = done

    def finish(self) -> None:
        """Report what there is."""
        indices, report = self.collector.take()
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
        if not chunk.left:
            self._chunks.remove(chunk)
            chunk.finish()

    def hand_back(self, items: AsyncItems, now: float, *, everything: bool) -> None:
        """Hand back the items that have not started of each chunk whose time is over, or of every one."""
        for chunk in tuple(self._chunks):
            if (everything or now > chunk.until) and (dropped := items.drop(chunk.left)):
                self.take_out(chunk, dropped)

    async def end(self, items: AsyncItems, seconds: float) -> None:
        """Cancel what runs, give it so many seconds to clean up, and report what there is of each chunk."""
        if self._chunks:
            await items.close(seconds)
        while self._chunks:
            self._chunks.pop().finish()
