"""How long items take: the histogram that workers fill and a run adds up.

One comparison separates quick items from slow ones, and only the slow ones are looked at further: what is counted
for an item costs far less than the item.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EDGES", "QUICK", "SLOWEST", "counted"]

#: Seconds up to which an item is quick.
QUICK: Final = 1e-4
#: Seconds between the places of the histogram: three for each power of ten. The first place has the quick items.
EDGES: Final = (0.0, *(factor * 10**power for power in range(-4, 6) for factor in (1.0, 2.0, 5.0)))
#: How many of the slowest items are listed.
SLOWEST: Final = 20


def counted(slow: Sequence[tuple[float, int]], tries: int) -> tuple[dict[int, int], list[tuple[float, int]]]:
    """Return how many of so many tries took how long, by the place in the histogram, and the slowest of them.

    Args:
        slow: Seconds and position of each try that was not quick.
        tries: How many there were, the quick ones included.
    """
    counts = {0: tries - len(slow)} if tries > len(slow) else {}
    for seconds, _ in slow:
        place = min(bisect_left(EDGES, seconds), len(EDGES)) - 1
        counts[place] = counts.get(place, 0) + 1
    return counts, heapq.nlargest(SLOWEST, slow)
