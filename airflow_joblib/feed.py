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
from typing import TYPE_CHECKING, Any, Literal

from airflow_joblib.chunks import ItemChunk, Packer, Sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_joblib.ledger import Ledger
    from airflow_joblib.outcomes import Report

__all__ = ["Feed"]


class Feed:
    """Gives the chunks of a run, one by one.

    Args:
        ledger: Knows what is left of the input, and what is to be tried again.
        batch_size: Items per dispatch.
        packer: Pickles items; None where the workers are threads.
        slice_seconds: Seconds after which a worker hands back the rest of a chunk.

    Attributes:
        workers: How many share what is left.
    """

    def __init__(
        self, ledger: Ledger, batch_size: int | Literal["auto"], packer: Packer | None, slice_seconds: float
    ) -> None:
        self.workers = 1
        self._ledger = ledger
        self._auto = batch_size == "auto"
        self._packer = packer
        self._sizes = Sizes(batch_size, slice_seconds)
        self._again: list[tuple[int, ItemChunk]] = []
        self._new: Iterator[ItemChunk] = iter(())

    def send_away(self, dispatch_seconds: float, slice_seconds: float) -> None:
        """Let chunks be worth a dispatch to a cluster, which costs more than one to a process of this machine."""
        self._sizes.dispatch_seconds, self._sizes.slice_seconds = dispatch_seconds, slice_seconds

    def start(self, chunks: list[ItemChunk], rest: Iterator[Any] | None) -> None:
        """Take the chunks that are cut, and what is left of a lazy iterator."""
        self._new = self._drawn(chunks, rest)

    def next(self) -> ItemChunk | None:
        """Return what is to run next; None if there is nothing now."""
        if self._again:
            return heapq.heappop(self._again)[1]
        if (due := self._ledger.retries.due()) is not None:
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
        if report.torn:
            self.put_back(chunk.pieces(1))
        elif ran < len(chunk.indices):
            rest = chunk.part(ran)
            self.put_back(rest.pieces(self._size_of_rest(rest, report)))

    def _size_of_rest(self, rest: ItemChunk, report: Report) -> int:
        """Return how many items of a chunk that was handed back to send at once: what no worker must wait for."""
        left = len(rest.indices)
        if not self._auto or not report.values:
            return left
        rate = report.seconds / len(report.values)
        # A machine that stood still for a moment must not take a chunk of quick items to pieces of one each.
        least, most = -(-left // (8 * self.workers)), -(-left // (2 * self.workers))
        half_a_slice = int(self._sizes.slice_seconds / 2 / rate)
        return max(least, min(half_a_slice, most), int(self._sizes.dispatch_seconds / rate))

    def _drawn(self, chunks: list[ItemChunk], rest: Iterator[Any] | None) -> Iterator[ItemChunk]:
        chunks.reverse()
        while chunks:
            yield chunks.pop()
        while rest is not None:
            items = list(itertools.islice(rest, self._fit(self._sizes.next())))
            if not items:
                self._ledger.total = len(self._ledger.results)
                return
            indices, todo = self._ledger.draw(items)
            if not todo:
                self._sizes.learn(len(items), 0.0)
            else:
                yield ItemChunk(indices, todo, self._packer)

    def _fit(self, size: int) -> int:
        """Return *size*, or less where so many items would make a very large chunk and no number was asked for."""
        return size if self._packer is None or not self._auto else self._packer.fit(size)

    def _fresh(self) -> ItemChunk | None:
        """Return new items: as many chunks in one as are worth a dispatch, where items turn out to be quick."""
        first = next(self._new, None)
        if first is None:
            return None
        chunks, count, least = (
            [first],
            len(first.indices),
            self._fit(self._sizes.least(self._left(first), self.workers)),
        )
        while count < least and (chunk := next(self._new, None)) is not None:
            chunks.append(chunk)
            count += len(chunk.indices)
        return ItemChunk.joined(chunks)

    def _left(self, chunk: ItemChunk) -> int | None:
        """Return how many items come from a chunk on, None if nobody knows."""
        return None if self._ledger.total is None else self._ledger.total - chunk.first
