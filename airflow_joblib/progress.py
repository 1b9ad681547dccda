"""Show that a fan-out runs: a bar in a terminal or a notebook, a steady beat in the log anywhere else."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tqdm import tqdm as Bar  # noqa: N812 - the base of all of tqdm's bars

__all__ = ["Progress"]

log = logging.getLogger("airflow_joblib")

#: Seconds between two lines in the log.
BEAT = 10.0


class Progress:
    """The progress of one run. A context manager.

    Args:
        name: The function's name.
        total: Number of items, or None where it isn't known in advance.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total
        self._began = self._told = time.monotonic()
        self._bar: Bar[Any] | None = None

    def __enter__(self) -> Self:
        if _watched():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, desc=self._name, unit="item", leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int) -> None:
        """Take note that *done* items are done."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif now - self._told >= BEAT:
            self._told = now
            log.info("%s: %s", self._name, self._state(done, now - self._began))

    def _state(self, done: int, elapsed: float) -> str:
        rate = done / elapsed
        if self._total is None:
            return f"{done:,} items done, {rate:,.1f} a second"
        left = (self._total - done) / rate if rate else float("inf")
        return f"{done:,} of {self._total:,} items done, {rate:,.1f} a second, {left:,.0f} s left"

    def finish(self, done: int, workers: int, seconds: float) -> None:
        """Sum the run up in the log."""
        plural = "worker" if workers == 1 else "workers"
        log.info("%s: %s items on %d %s in %.2f s", self._name, f"{done:,}", workers, plural, seconds)


def _watched() -> bool:
    """Tell whether somebody sees the standard error stream: a terminal or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty())
