"""Items that failed for good: how many are tolerated, what is kept of each, and the error that ends the run."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ItemTimeoutError, RetryItem, TooManyFailuresError
from airflow_joblib.fan_out.over_notes import hint_for
from airflow_joblib.fan_out.shown import Shown
from airflow_joblib.pickling.refusals import dotted_name
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.tracebacks import put_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import ItemError

__all__ = ["SHOWN", "Failures"]

log = logging.getLogger("airflow_joblib")

#: Failures that are logged with their tracebacks, and whose exceptions the error that ends the run has.
SHOWN = 10

_MORE = (
    "%s: more items fail than the %d that are logged; in a task the XCom 'failures' has a record of every one of them."
)


_NO_RETRIES = " It asks for another try, and item_retries is 0: set how many tries an item has after the first."


class Failures:
    """The items that failed for good.

    Args:
        call: The call.
        most: How many are tolerated: a count, or a fraction of all items.
        host: What surrounds the run.
        label: Names an item.

    Attributes:
        shown: Shows items and messages, secrets masked.
        records: One mapping each, as the XCom ``failures`` has it, in the order they failed.
        items: Number of items, as far as they were drawn.
        ended: The same of the failure that ended the run, where none was to be tolerated.
    """

    def __init__(self, call: Call, most: float, host: Host, label: Callable[[Any], str] | None = None) -> None:
        self._call = call
        self._name = function_name(call.function)
        self._most = most
        self._host = host
        self.shown = Shown(host, label)
        self._first: list[BaseException] = []
        self.records: list[dict[str, Any]] = []
        self.items = 0
        self.ended: dict[str, Any] | None = None

    def add(self, failure: ItemError, item: object, tries: int, worker: int) -> None:
        """Take note of one that may be tolerated."""
        if len(self.records) == SHOWN:
            log.warning(_MORE, self._name, SHOWN)
        text, message = self._text(failure, item), self.message(failure, item)
        if len(self.records) < SHOWN:
            self._first.append(self.explained(failure, item, tries, worker))
            self._log(failure, text, message)
        self.records.append(_record(failure, text, message, tries))

    def raised(self, failure: ItemError, item: object, tries: int, worker: int) -> BaseException:
        """Return the exception of a failure that ends the run, logged where nobody would see its notes."""
        error = self.explained(failure, item, tries, worker)
        what = self._text(failure, item) or failure.resource
        self.ended = _record(failure, what, self.shown.message(failure.error, item), tries)
        if not self._host.shows_notes():
            self._log(failure, what, self.shown.message(error))
        return error

    def message(self, failure: ItemError, item: object) -> str:
        """Return what an item's exception says, as text to be shown; that of a time limit names the item."""
        error = failure.error
        if isinstance(error, ItemTimeoutError) and error.index == failure.index:
            error.item = self._text(failure, item)
        return self.shown.message(error, item)

    def _text(self, failure: ItemError, item: object) -> str:
        """Return the text of the item that failed; an empty one if it was none."""
        return self.shown.item(item) if failure.index >= 0 else ""

    def explained(self, failure: ItemError, item: object, tries: int, worker: int) -> BaseException:
        """Return an item's own exception with the worker's traceback, and a note with the item and the worker."""
        self.shown.keep_secrets(item)
        text, error = self._text(failure, item), failure.error
        if isinstance(error, ItemTimeoutError) and error.index == failure.index:
            error.item = text
        if failure.trace is not None:
            put_together(error, failure.trace)
        with suppress(Exception):  # an exception may refuse a note, as a frozen dataclass does
            note = _note(failure, self._name, text, tries, worker)
            if isinstance(error, RetryItem) and tries == 1:
                note += _NO_RETRIES
            error.add_note(note + self._place(failure, item) + hint_for(self._call, error, item, self.items))
        return error

    def _place(self, failure: ItemError, item: object) -> str:
        """Return where lies what a worker could not load."""
        if not failure.loading:
            return ""
        from airflow_joblib.pickling.culprits.explain import explain_loading  # late: few runs fail by that

        parts = self._call.parts() if failure.index < 0 else {f"item {failure.index}": item}
        return explain_loading(parts, failure.error)

    def _log(self, failure: ItemError, item: str, message: str) -> None:
        """Log a failure as one record, with its notes: Airflow's UI shows none of an exception."""
        error = failure.error
        notes = "".join(f"\n{self.shown.masked(str(note))}" for note in getattr(error, "__notes__", ()))
        what = _what(failure, item), dotted_name(type(error)), message, notes
        extra = {"item": failure.index} if failure.index >= 0 else {}
        log.error("%s: %s: %s: %s%s", self._name, *what, exc_info=error, extra=extra)

    def check(self, total: int | None, *, over: bool = False) -> None:
        """Raise TooManyFailuresError if there are more than tolerated.

        Args:
            total: Number of items; None as long as it isn't known.
            over: Whether every item has run, which the error then says, with a summary.
        """
        if isinstance(self._most, float) and self._most and total is None:
            return
        tolerated = int(self._most * (total or 0) + 1e-9) if isinstance(self._most, float) else self._most
        if len(self.records) > tolerated:
            message = f"the first of {len(self.records):,} failures"
            kinds = dict(Counter(record["error_type"] for record in self.records).most_common()) if over else {}
            raise TooManyFailuresError(len(self.records), total, tolerated, kinds) from BaseExceptionGroup(
                message, self._first
            )


def _record(failure: ItemError, item: str, message: str, tries: int) -> dict[str, Any]:
    kind = dotted_name(type(failure.error))
    return {"index": failure.index, "item": item, "error_type": kind, "message": message, "tries": tries}


def _what(failure: ItemError, item: str) -> str:
    """Return what failed, as a text."""
    if failure.resource:
        return f"per_worker {failure.resource!r} could not be set up"
    if failure.index < 0:
        return "a worker could not load the function"
    return f"item {failure.index} ({item}) {'could not be loaded' if failure.loading else 'failed for good'}"


def _note(failure: ItemError, name: str, text: str, tries: int, worker: int) -> str:
    where = f" in worker {worker}" if worker else ""  # the task itself, which could not load a result
    if failure.resource:
        return f"Raised while per_worker {failure.resource!r} was set up{where}."
    if failure.index < 0:
        return (
            f"Raised while the function {name} was loaded{where}, with what it refers to and its shared arguments; no "
            "item has run there."
        )
    how = "Returned" if failure.returned else "Raised"
    when = ", as it was loaded there: it has not run" if failure.loading else ""
    return f"{how} by item {failure.index} ({text}) on try {tries}{where}{when}."
