"""The errors this library raises itself.

Each is a subclass of the builtin that people already catch, keeps its data as attributes, composes its own sentence
and survives pickling. An item's own exception is never wrapped in one of these: it leaves the task as it was raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

__all__ = [
    "ClusterError",
    "Culprit",
    "FailItem",
    "InvalidOptionError",
    "ItemTimeoutError",
    "NotPicklableError",
    "ParallelTaskError",
    "RetryItem",
    "TooManyFailuresError",
    "WorkerLostError",
]

#: Culprits that a message lists, and kinds of failures.
_SHOWN = 20
_KINDS = 5


class ParallelTaskError(Exception):
    """Base of every error that this library raises itself."""


class InvalidOptionError(ParallelTaskError, ValueError):
    """An option of the decorator, or of the ``[joblib]`` section, has a value it can't have."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """One object that can't reach a worker process.

    Never holds the object or any value of it: a culprit is printed in logs and shown in the UI.

    Attributes:
        path: Where the object is, as ``update_record → global 'save' → closure 'conn'``.
        type: Dotted name of the object's type, as ``sqlite3.Connection``.
        reason: Why it can't travel.
        advice: What to do instead.
    """

    path: str
    type: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path} ({self.type}): {self.reason} {self.advice}"


class NotPicklableError(ParallelTaskError, TypeError):
    """Something that must reach a worker process, or come back from it, can't be pickled or can't be unpickled.

    Raised before anything has run, unless a lazy iterator gave the item late or it is about a result. No value of the
    objects concerned is ever shown.

    Attributes:
        culprits: Every object found that can't travel, in the order found; at least one.
    """

    culprits: tuple[Culprit, ...]

    def __init__(self, culprits: Sequence[Culprit]) -> None:
        self.culprits = tuple(culprits)
        super().__init__(self.culprits)

    @property
    def path(self) -> str:
        """Path of the first culprit."""
        return self.culprits[0].path

    @property
    def culprit_type(self) -> str:
        """Dotted type name of the first culprit."""
        return self.culprits[0].type

    def __str__(self) -> str:
        if len(self.culprits) == 1:
            return f"Can't be sent to a worker process: {self.culprits[0]}"
        lines = [f"\n  {number}. {culprit}" for number, culprit in enumerate(self.culprits[:_SHOWN], 1)]
        if more := len(self.culprits) - len(lines):
            lines.append(f"\n  ... and {more:,} more, in the attribute culprits of this error.")
        return f"{len(self.culprits):,} objects can't be sent to a worker process:{''.join(lines)}"


class ItemTimeoutError(ParallelTaskError, TimeoutError):
    """One try of one item took longer than ``item_timeout``.

    Attributes:
        seconds: The limit.
        index: Position of the item in the input; -1 inside the item itself, which may catch this to clean up.
        item: The item, cut short.
    """

    def __init__(self, seconds: float = 0.0, index: int = -1, item: str = "") -> None:
        super().__init__()
        self.seconds = seconds
        self.index = index
        self.item = item

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle its attributes: a TimeoutError would take its arguments for an error number."""
        return type(self), (self.seconds, self.index, self.item), {"__notes__": getattr(self, "__notes__", [])}

    def __str__(self) -> str:
        which = "An item" if self.index < 0 else f"Item {self.index} ({self.item})"
        return f"{which} took longer than its item_timeout of {self.seconds:g} s."


class FailItem(ParallelTaskError):  # noqa: N818 - says what to do, as Airflow's own
    """To be raised by an item that has failed for good: it is not tried again, whatever ``item_retries`` is.

    A failure like any other besides: ``max_failures`` may tolerate it, else it ends the run.
    """

    def __str__(self) -> str:
        return super().__str__() or "The item has failed, and another try would not help."


class RetryItem(ParallelTaskError):  # noqa: N818 - as above
    """To be raised by an item that is to be tried again, within ``item_retries`` and whatever ``item_retry_on`` is.

    ``raise RetryItem("busy", after=30) from error`` keeps what has led to it.

    Attributes:
        after: Seconds before which the item is not tried again; None for the wait that ``item_retry_delay`` makes.
    """

    def __init__(self, *args: object, after: float | timedelta | None = None) -> None:
        """Make one.

        Args:
            *args: The message, if there is one.
            after: Seconds, or a timedelta, before which the item is not tried again.

        Raises:
            ValueError: That is no time from now on. What a server has sent as a text has to be made a number first.
        """
        super().__init__(*args)
        self.after = None if after is None else _seconds(after)

    def __str__(self) -> str:
        when = "" if self.after is None else f" after {self.after:g} s"
        return super().__str__() or f"The item asks for another try{when}."


def _seconds(after: Any) -> float:
    seconds = after.total_seconds() if hasattr(after, "total_seconds") else after
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        msg = (
            f"RetryItem(after=...) takes a number of seconds of at least 0, or a timedelta, not this "
            f"{type(after).__name__}. Make a number of what a server has sent: float(text)."
        )
        raise ValueError(msg)
    return float(seconds)


class WorkerLostError(ParallelTaskError, RuntimeError):
    """A worker process ended before it gave back its items.

    Where one item ended two workers it is about that item; else the workers ended before they could run any.

    Attributes:
        index: Position of the item in the input; -1 where there is none to blame.
        exit_code: Exit code of the last worker; negative for the number of a signal, None where it isn't known.
    """

    def __init__(self, message: str, index: int = -1, exit_code: int | None = None) -> None:
        super().__init__(message, index, exit_code)
        self.index = index
        self.exit_code = exit_code

    def __str__(self) -> str:
        return str(self.args[0])


class ClusterError(ParallelTaskError, RuntimeError):
    """A cluster of Dask, Ray or Spark can't be used: its package is missing, it doesn't answer, or it doesn't fit.

    Raised before anything has run; or when the cluster has gone while items ran.
    """


class TooManyFailuresError(ParallelTaskError, RuntimeError):
    """More items failed for good than ``max_failures`` tolerates. Caused by a group of the first failures.

    Attributes:
        failed: Number of items that had failed when the run ended.
        total: Number of items; None where a lazy input was not drawn to its end.
        tolerated: Number of failures that were.
        kinds: Name of each type of exception to how many items failed by it, the most frequent first, where every item
            has run (``fail_fast=False``); empty where the failure that was one too many has ended the run.
    """

    def __init__(
        self, failed: int, total: int | None, tolerated: int, kinds: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        super().__init__(failed, total, tolerated, dict(kinds))
        self.failed = failed
        self.total = total
        self.tolerated = tolerated
        self.kinds = dict(kinds)

    def __str__(self) -> str:
        of = f"{self.failed:,}" if self.total is None else f"{self.failed:,} of {self.total:,}"
        return (
            f"{of} items failed for good{self._by_kind()}, and max_failures tolerates {self.tolerated:,}; "
            f"{'all items have run' if self.kinds else 'the run was ended'}. The first of them are above; in a task "
            "every one is in the XCom 'failures'."
        )

    def _by_kind(self) -> str:
        shown = [f"{number:,} by {kind}" for kind, number in list(self.kinds.items())[:_KINDS]]
        more = sum(list(self.kinds.values())[_KINDS:])
        return f" ({', '.join([*shown, f'{more:,} by others'] if more else shown)})" if shown else ""
