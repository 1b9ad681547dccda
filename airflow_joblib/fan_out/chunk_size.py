"""How many items go into a chunk: what hides the cost of sending it, and still spreads the end of a run evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from airflow_joblib.wire.chunk import Packer

__all__ = ["Sizes"]

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
_PARTS, _PARTS_ON_CLUSTER = 8, 32
#: The most items of such a part for a cluster, so that what is joined of them is near to what is wanted.
_MOST_ON_CLUSTER = 250
#: Seconds in which the items of a chunk may start by the rate: while a worker waits for that, no other has them.
_OF_RATE = 0.005

#: What part of the items that run at the same time goes into a chunk at most, as its denominator.
_PARTS_OF_TOGETHER = 8


class Sizes:
    """How many items go into the next chunk, from what the last ones took.

    Args:
        batch_size: Items per dispatch.
        slice_seconds: Work after which a worker hands back the rest of a chunk.
        dispatch_seconds: Work that is worth a dispatch to a cluster; 0 where the workers are on this machine.
        rate: Items that may start in a second; None for any number.
        together: Items of an asynchronous function that a worker runs at the same time; 0 for a plain function.
    """

    def __init__(
        self,
        batch_size: int | Literal["auto"],
        slice_seconds: float = float("inf"),
        dispatch_seconds: float = 0.0,
        rate: float | None = None,
        together: int = 0,
    ) -> None:
        self._rate = rate
        self._slice_seconds = slice_seconds
        self._dispatch_seconds = dispatch_seconds
        self._fixed = None if batch_size == "auto" else batch_size
        self._together = together
        self._size = max(1, together // _PARTS_OF_TOGETHER)
        self._each = 0.0

    def fit(self, size: int, packer: Packer | None) -> int:
        """Return *size*, or less where so many items would make a very large chunk and no number was given."""
        return size if packer is None or self._fixed else packer.fit(size)

    def part(self, left: int, workers: int) -> int:
        """Return the number of items for the next chunk, of so many that are left.

        With ``batch_size="auto"`` that is an eighth of a worker's share of them, so that chunks shrink to single items
        at the end (guided self-scheduling: Polychronopoulos and Kuck, 1987).
        For a cluster it is less, and several are joined.
        """
        if self._fixed:
            return self._fixed
        if self._dispatch_seconds:
            return max(1, self._paced(min(left // (_PARTS_ON_CLUSTER * workers), _MOST_ON_CLUSTER), workers))
        part = max(1, self._paced(left // (_PARTS * workers), workers))
        return min(part, max(1, self._together // _PARTS_OF_TOGETHER)) if self._together else part

    def next(self, workers: int = 1) -> int:
        """Return the number of items for the next chunk of a lazy iterator."""
        return self._fixed or self._paced(self._size, workers)

    def _paced(self, size: int, workers: int) -> int:
        """Return *size*, or no more than a worker's share of what may start soon, and than what runs together."""
        if self._together and not self._dispatch_seconds:
            size = min(size, self._together)
        if self._rate is None:
            return size
        return min(size, max(1, int(self._rate * max(_OF_RATE, self._dispatch_seconds) / workers)))

    def worth(self, left: int | None, workers: int) -> int:
        """Return how many items are worth a dispatch; chunks of fewer are joined.

        Of quick items it is more, but not so many that another worker has none of what is *left*, if that is known.
        """
        if self._fixed:
            return 1
        if self._dispatch_seconds:
            return self._paced(self._worth_on_cluster(1 if left is None else left, workers), workers)
        if not self._each:
            return 1
        least = int((_LEAST_OF_QUICK if self._each < _QUICK else _LEAST_SECONDS) / self._each)
        share = least if left is None else max(left // workers, int(_LEAST_SECONDS / self._each))
        return self._paced(max(1, min(least, share)), workers)

    def _worth_on_cluster(self, left: int, workers: int) -> int:
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
        wanted = max(least, min(int(self._slice_seconds / 2 / each), most), int(self._dispatch_seconds / each))
        return self._paced(wanted, workers)
