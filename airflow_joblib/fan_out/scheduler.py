"""What runs next: what was begun, then a retry that is due, then new items.

::

    chunks that are cut ──┐
    a lazy iterator ──────┴─► joined, as many as a dispatch is worth ──┐
    items that failed, when their wait is over ────────────────────────┼─► next ─► workers
    what workers handed back or lost ──────────────────────────────────┘             │
                    ▲                                                                │
                    └── how many items at a time ◄── how long they took ◄── report ──┘
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

from airflow_joblib.wire.chunk import ItemChunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_joblib.fan_out.chunk_size import Sizes
    from airflow_joblib.fan_out.state import RunState
    from airflow_joblib.wire.chunk import Packer
    from airflow_joblib.wire.records import Report

__all__ = ["Scheduler"]


class Scheduler:
    """Gives the chunks of a run, one by one.

    Args:
        state: Takes what is drawn of a lazy input, and knows what is to be tried again.
        sizes: How many items at a time.
        packer: Pickles items; None where the workers are threads.

    Attributes:
        workers: How many share what is left.
    """

    def __init__(self, state: RunState, sizes: Sizes, packer: Packer | None) -> None:
        self.workers = 1
        self._state = state
        self._sizes = sizes
        self._packer = packer
        self._again: list[tuple[int, ItemChunk]] = []
        self._new: Iterator[ItemChunk] = iter(())
        self._held: ItemChunk | None = None
        self._left: int | None = 0

    def start(self, chunks: list[ItemChunk], rest: Iterator[Any] | None) -> None:
        """Take the chunks that are cut, and what is left of a lazy iterator."""
        self._left = sum(len(chunk.indices) for chunk in chunks) if rest is None else None
        self._new = self._drawn(chunks, rest)

    def next(self) -> ItemChunk | None:
        """Return what is to run next; None if there is nothing now."""
        if self._again:
            return heapq.heappop(self._again)[1]
        if (due := self._state.retries.due()) is not None:
            index, item = due
            return ItemChunk([index], [item], self._packer)
        return self._fresh()

    def put_back(self, chunks: Iterable[ItemChunk]) -> None:
        """Let chunks that were begun run before what was not, in the order of the input."""
        for chunk in chunks:
            heapq.heappush(self._again, (chunk.first, chunk))

    def learn(self, chunk: ItemChunk, report: Report) -> None:
        """Take note of how long a chunk took, and see to what of it has not run."""
        ran = len(report.values)
        self._sizes.learn(ran, report.seconds)
        if report.unreadable:
            self.put_back(chunk.pieces(1))
        elif ran < len(chunk.indices):
            rest = chunk.part(ran)
            self.put_back(rest.pieces(self._sizes.rest(len(rest.indices), ran, report.seconds, self.workers)))

    def _drawn(self, chunks: list[ItemChunk], rest: Iterator[Any] | None) -> Iterator[ItemChunk]:
        chunks.reverse()
        while chunks:
            yield chunks.pop()
        while rest is not None:
            items = list(itertools.islice(rest, self._sizes.fit(self._sizes.next(self.workers), self._packer)))
            if not items:
                self._state.total = len(self._state.results)
                return
            indices, todo = self._state.draw(items)
            if not todo:
                self._sizes.learn(len(items), 0.0)
            else:
                yield ItemChunk(indices, todo, self._packer)

    def _fresh(self) -> ItemChunk | None:
        """Return new items: as many chunks in one as are worth a dispatch, where items turn out to be quick."""
        chunk = self._take()
        if chunk is None:
            return None
        chunks, count = [chunk], len(chunk.indices)
        worth = self._sizes.fit(self._sizes.worth(self._left, self.workers), self._packer)
        while count < worth and (chunk := self._take()) is not None:
            if count + len(chunk.indices) > worth:
                self._held = chunk
                break
            chunks.append(chunk)
            count += len(chunk.indices)
        if self._left is not None:
            self._left -= count
        return ItemChunk.joined(chunks)

    def _take(self) -> ItemChunk | None:
        """Return the next chunk as it was cut or drawn."""
        chunk, self._held = self._held, None
        return next(self._new, None) if chunk is None else chunk
