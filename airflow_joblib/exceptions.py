"""The errors this library raises itself.

Each is a subclass of the builtin that people already catch, keeps its data as attributes, composes its own sentence
and survives pickling. An item's own exception is never wrapped in one of these: it leaves the task as it was raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Culprit",
    "InvalidOptionError",
    "ItemTimeoutError",
    "NotPicklableError",
    "ParallelTaskError",
    "TooManyFailuresError",
    "WorkerLostError",
]

#: Culprits that a message lists.
_SHOWN = 20


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
    """One try of one item took longer than ``item_timeout``. Not raised in this version."""


class WorkerLostError(ParallelTaskError, RuntimeError):
    """A worker process ended before it gave back its items."""


class TooManyFailuresError(ParallelTaskError, RuntimeError):
    """More items failed for good than ``max_failures`` tolerates. Not raised in this version."""
