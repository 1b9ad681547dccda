"""Items that failed for good: how many are tolerated, what is kept of each, and the error that ends the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import TooManyFailuresError
from airflow_joblib.picklability.pickler import dotted_name

if TYPE_CHECKING:
    from airflow_joblib.outcomes import ItemError

__all__ = ["Failures", "explained"]

log = logging.getLogger("airflow_joblib")

#: Failures whose exceptions the error that ends the run has, and those whose tracebacks are logged.
_SHOWN = 5


class Failures:
    """The items that failed for good.

    Args:
        name: The function's name.
        most: How many are tolerated: a count, or a fraction of all items.

    Attributes:
        records: One mapping each, as the XCom ``failures`` has it, in the order they failed.
    """

    def __init__(self, name: str, most: float) -> None:
        self._name = name
        self._most = most
        self._first: list[BaseException] = []
        self.records: list[dict[str, Any]] = []

    def add(self, failure: ItemError, tries: int, worker: int) -> None:
        """Take note of one."""
        error = failure.error
        kind, said = dotted_name(type(error)), _said(error)
        self.records.append(
            {"index": failure.index, "item": failure.item, "error_type": kind, "message": said, "tries": tries}
        )
        if len(self._first) < _SHOWN:
            self._first.append(explained(failure, tries, worker))
            log.warning("%s: item %d failed for good: %s: %s", self._name, failure.index, kind, said, exc_info=error)

    def check(self, total: int | None) -> None:
        """Raise TooManyFailuresError if there are more than tolerated; *total* is None as long as it isn't known."""
        if isinstance(self._most, float) and self._most and total is None:
            return
        tolerated = int(self._most * (total or 0) + 1e-9) if isinstance(self._most, float) else self._most
        if len(self.records) > tolerated:
            message = f"the first of {len(self.records):,} failures"
            raise TooManyFailuresError(len(self.records), total, tolerated) from BaseExceptionGroup(
                message, self._first
            )


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the rest
        return ""


class _WorkerTraceback(Exception):  # noqa: N818 - only ever shown as the cause of an item's exception
    """The traceback of an item's exception as it was in the worker."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def explained(failure: ItemError, tries: int, worker: int) -> BaseException:
    """Return an item's own exception with a note that says which item, and where."""
    error = failure.error
    if failure.resource:
        error.add_note(f"Raised while per_worker {failure.resource!r} was set up in worker {worker}.")
    else:
        where = f" in worker {worker}" if worker else ""  # the task itself, which could not load a result
        error.add_note(f"Raised by item {failure.index} ({failure.item}) on try {tries}{where}.")
    if failure.traceback:
        error.__cause__ = _WorkerTraceback(failure.traceback)
    return error
