"""Show that a fan-out runs: a bar in a terminal or a notebook, a steady beat in the log anywhere else."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from tqdm import tqdm as Bar  # noqa: N812 - the base of all of tqdm's bars

    from airflow_joblib.fan_out.run_stats import Times

__all__ = ["Progress", "seconds_left"]

log = logging.getLogger("airflow_joblib")

#: Seconds between two lines in the log.
BEAT = 10.0
#: Seconds of waiting for the rate from which on they are worth a word.
_WAITED: Final = 0.1


class Items(Protocol):
    """How far the items of a run are."""

    total: int | None
    done: int
    earlier: int
    skipped: int
    retried: int
    rate_limit: float | None

    @property
    def wait(self) -> float:
        """Seconds until every item that failed has begun its next try; 0 where none waits for one."""
        ...

    @property
    def failed(self) -> int:
        """Items that failed for good."""
        ...


def seconds_left(items: Items, left: int, rate: float) -> float:
    """Return the seconds until all is done: *left* items at so many a second, but no more than the rate allows."""
    limit = items.rate_limit
    return max(left / (rate if limit is None else min(rate, limit)), items.wait)


class Progress:
    """The progress of one run. A context manager.

    Args:
        name: The function's name.
        items: What became of the items so far.
    """

    def __init__(self, name: str, items: Items) -> None:
        self._name = name
        self._items = items
        self._began = self._logged = clock.now()
        self._bar: Bar[Any] | None = None

    def __enter__(self) -> Self:
        if _watched():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._items.total, desc=self._name, unit="item", leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Show how far the items are."""
        now, done = clock.now(), self._items.done
        if self._bar is not None:
            trouble = {"failed": self._items.failed, "retried": self._items.retried}
            self._bar.set_postfix({what: number for what, number in trouble.items() if number}, refresh=False)
            self._bar.update(done + self._items.failed - self._bar.n)
        elif now - self._logged >= BEAT:
            self._logged = now
            log.info("%s: %s", self._name, self._state(done, now - self._began))

    def _state(self, done: int, elapsed: float) -> str:
        total, failed, wait = self._items.total, self._items.failed, self._items.wait
        rate = (done + failed - self._items.earlier) / max(elapsed, 1e-9)
        bad = f", {failed:,} failed" if failed else ""
        if total is None:
            return f"{done:,} items done{bad}, {rate:,.1f} a second"
        if not rate:
            return f"{done:,} of {total:,} items done{bad}"
        left = seconds_left(self._items, total - done - failed, rate)
        text = f"{done:,} of {total:,} items done{bad}, {rate:,.1f} a second, {max(1.0, left):,.0f} s left"
        return f"{text}, {wait:,.0f} s of it until the last retry" if wait >= 1 else text

    def finish(self, workers: int, seconds: float, times: Times) -> None:
        """Sum the run up in the log, in one line.

        Args:
            workers: How many ran.
            seconds: How long the run took.
            times: Where its time went.
        """
        items = self._items
        parts = (("by an earlier try", items.earlier), ("skipped", items.skipped), ("failed", items.failed))
        parted = ", ".join(f"{number:,} {what}" for what, number in parts if number)
        done = f"{_counted(items.done + items.failed, 'item')}{f' ({parted})' if parted else ''}"
        rate = f" ({times.rate:.2f} s of it waiting for the rate)" if times.rate >= _WAITED else ""
        faster = (
            f", {_factor(times.one_by_one / seconds)} times as fast as one by one" if workers > 1 and seconds else ""
        )
        log.info("%s: %s on %s in %.2f s%s%s", self._name, done, _counted(workers, "worker"), seconds, rate, faster)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _factor(faster: float) -> str:
    """Return how many times as fast, with a figure that says something where it is far below 1."""
    return f"{faster:.1f}" if faster >= 1 else f"{faster:.1g}"


def _watched() -> bool:
    """Return whether somebody sees the standard error stream: a terminal or a notebook."""
    if "ipykernel" in sys.modules:
        return True
    isatty = getattr(sys.stderr, "isatty", None)
    return bool(isatty and isatty())
