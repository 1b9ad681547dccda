"""The lines in the log about items that are tried again: a few in full, then one every few seconds for many."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from airflow_joblib.fan_out.failures import Failures
    from airflow_joblib.wire.records import ItemError

__all__ = ["FIRST", "PAUSE", "RetryLog"]

log = logging.getLogger("airflow_joblib")

#: Failed tries that have a line each.
FIRST = 5
#: Seconds between two lines about more of them.
PAUSE = 5.0


class RetryLog:
    """Logs that items are tried again. A context manager, which logs at the end what has no line yet.

    Args:
        name: Name of the function.
        most_tries: Tries that one item has.
        failures: Shows items and messages.
    """

    def __init__(self, name: str, most_tries: int, failures: Failures) -> None:
        self._name = name
        self._most_tries = most_tries
        self._failures = failures
        self._logged = 0
        self._waiting = 0
        self._last: tuple[ItemError, object, int, float] | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def add(self, failure: ItemError, item: object, tries: int, wait: float) -> None:
        """Take note of a try that failed.

        Args:
            failure: What became of it.
            item: The item.
            tries: How many the item has had.
            wait: Seconds until the next one.
        """
        self._waiting += 1
        self._last = failure, item, tries, wait
        if self._logged < FIRST:
            self._flush()
        else:
            self.beat()

    def beat(self) -> None:
        """Log what has no line yet, if the last line is some seconds old."""
        if self._waiting and clock.now() - self._since >= PAUSE:
            self._flush()

    def _flush(self) -> None:
        if self._last is None:
            return
        failure, item, tries, wait = self._last
        count, self._waiting, self._last = self._waiting, 0, None
        self._logged += 1
        self._since = clock.now()
        more = "" if count == 1 else f"{count:,} more items failed and are tried again; the last: "
        message = self._failures.message(failure, item)
        which = self._failures.shown.named(failure.index, item)
        what = (self._name, more, which, tries, self._most_tries, wait, type(failure.error).__name__, message)
        log.info("%s: %s%s failed on try %d of %d and is tried again in %.1f s: %s: %s", *what)
