"""A cost model of each choice, fitted to what was measured.

::

    seconds = start + item * items + work * (items * seconds of one) + mebibyte * (MiB of all results)

Least squares of relative errors, since a millisecond matters at a second and not at a minute. No cost is negative: a
term that would be is left out, and the rest is fitted again.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TERMS", "Model", "Point", "break_even", "fit"]

TERMS = ("start", "item", "work", "mebibyte")
_MIB = 1 << 20


@dataclass(frozen=True)
class Point:
    """One measured run.

    Attributes:
        choice: How the items were run.
        count: Number of items.
        seconds: What one item takes.
        size: Bytes of one result.
        took: Seconds that the run took.
    """

    choice: str
    count: int
    seconds: float
    size: int
    took: float

    @property
    def terms(self) -> tuple[float, float, float, float]:
        """What each cost of the model is multiplied with."""
        return 1.0, float(self.count), self.count * self.seconds, self.count * self.size / _MIB


@dataclass(frozen=True)
class Model:
    """The costs of a choice, in seconds.

    Attributes:
        choice: The choice.
        start: Once.
        item: For each item, however short.
        work: For a second of an item's own: 1 in a loop, a half with two workers.
        mebibyte: For each MiB of results.
        error: Median of how far off it is where it was measured, as a fraction.
    """

    choice: str
    start: float
    item: float
    work: float
    mebibyte: float
    error: float = 0.0

    def predict(self, count: float, seconds: float, size: float = 0.0) -> float:
        """Return the seconds of a run."""
        return self.start + count * (self.item + self.work * seconds + self.mebibyte * size / _MIB)


def fit(choice: str, points: Sequence[Point]) -> Model:
    """Fit a model to the runs of one choice."""
    rows = np.array([point.terms for point in points])
    took = np.array([point.took for point in points])
    kept = [place for place in range(len(TERMS)) if not place or np.ptp(rows[:, place])]  # what varies, and the start
    while True:
        found, *_ = np.linalg.lstsq(rows[:, kept] / took[:, None], np.ones(len(took)), rcond=None)
        if (found >= 0).all():
            break
        del kept[int(found.argmin())]
    costs = dict.fromkeys(TERMS, 0.0) | {TERMS[place]: float(cost) for place, cost in zip(kept, found, strict=True)}
    model = Model(choice, **costs)
    errors = [abs(model.predict(p.count, p.seconds, p.size) - p.took) / p.took for p in points]
    return Model(choice, **costs, error=statistics.median(errors))


def break_even(cheap: Model, steep: Model, seconds: float, size: float = 0.0) -> int | None:
    """Return from how many items of so many seconds *cheap* takes less time than *steep*; None for none."""
    gain = steep.predict(1, seconds, size) - steep.start - (cheap.predict(1, seconds, size) - cheap.start)
    more = cheap.start - steep.start
    if more <= 0:
        return 1 if gain >= 0 else None
    return None if gain <= 0 else max(1, math.ceil(more / gain))
