"""An exception's traceback and what led to it, taken apart in a worker and put together in the task.

::

    worker   error ─► taken_apart ─► Trace: plain places, and the exceptions behind it
    task     Trace ─► put_together ─► error.__traceback__, __cause__, __context__

Pickling drops all of these. They are made anew, and not shown as text, since Airflow's UI and every other tool that
shows an exception read them.
"""

from __future__ import annotations

import copyreg
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Place", "Trace", "put_together", "taken_apart"]

#: Frames of one traceback that travel: as many of its beginning and of its end, where a recursion has more.
_MOST = 200
#: Exceptions that travel with one: its causes, contexts and the members of a group.
_MOST_BEHIND = 50


class Place(NamedTuple):
    """Where a frame was: its file, line, function and module."""

    filename: str
    line: int
    function: str
    module: str


@dataclass(slots=True)
class Trace:
    """The traceback of an exception and what led to it.

    Attributes:
        places: The frames, the innermost last.
        cause: The exception it was raised from, and the trace of that.
        context: The exception that was handled when it was raised, and the trace of that.
        suppressed: Whether the context is not to be shown.
        parts: Traces of the members of a group.
    """

    places: list[Place] = field(default_factory=list)
    cause: tuple[BaseException, Trace] | None = None
    context: tuple[BaseException, Trace] | None = None
    suppressed: bool = False
    parts: list[Trace] = field(default_factory=list)


def taken_apart(
    error: BaseException, travelling: Callable[[BaseException], BaseException], seen: set[int] | None = None
) -> Trace:
    """Take the traceback of *error*, and what led to it, apart: what is to be pickled of it is pickled afterwards.

    Args:
        error: The exception.
        travelling: Returns an exception that can be pickled for one behind *error*, which has been taken apart.
        seen: Exceptions that were taken: a chain may be a circle.
    """
    seen = {id(error)} if seen is None else seen

    def behind(other: BaseException | None) -> tuple[BaseException, Trace] | None:
        if other is None or id(other) in seen or len(seen) > _MOST_BEHIND:
            return None
        seen.add(id(other))
        trace = taken_apart(other, travelling, seen)
        return travelling(other), trace

    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    trace = Trace(
        _places(error.__traceback__),
        behind(error.__cause__),
        None if error.__suppress_context__ else behind(error.__context__),
        error.__suppress_context__,
        [taken_apart(part, travelling, seen) for part in parts],
    )
    if type(error) in copyreg.dispatch_table:
        _strip(error)
    return trace


def _strip(error: BaseException) -> None:
    """Take from *error* what its Trace has.

    Where tblib is loaded, as Dask loads it, pickles of an exception have that too, and none can be made of one that
    leads to itself, or was raised deep in a recursion.
    """
    error.with_traceback(None)
    _set(error, "__cause__", None)
    _set(error, "__context__", None)


def _places(trace: TracebackType | None) -> list[Place]:
    places = [_place(frame, line) for frame, line in traceback.walk_tb(trace)]
    return places if len(places) <= _MOST else [*places[: _MOST // 2], *places[-_MOST // 2 :]]


def _place(frame: FrameType, line: int) -> Place:
    code = frame.f_code
    return Place(code.co_filename, line, code.co_name, str(frame.f_globals.get("__name__", "")))


def put_together(error: BaseException, trace: Trace) -> BaseException:
    """Give *error* its traceback and what led to it again, and return it."""
    error.with_traceback(_traceback(trace.places))
    if trace.cause is not None:
        _set(error, "__cause__", put_together(*trace.cause))
    if trace.context is not None:
        _set(error, "__context__", put_together(*trace.context))
    _set(error, "__suppress_context__", trace.suppressed)
    for part, of_part in zip(getattr(error, "exceptions", ()), trace.parts, strict=False):
        put_together(part, of_part)
    return error


def _set(error: BaseException, name: str, value: object) -> None:
    """Set an attribute of an exception, also of one that refuses it: a frozen dataclass may be an exception."""
    object.__setattr__(error, name, value)


def _traceback(places: list[Place]) -> TracebackType | None:
    made = None
    for place in reversed(places):
        made = TracebackType(made, _frame(place), -1, max(place.line or 0, 1))
    return made


class _Reached(Exception):  # noqa: N818 - raised to have its frame
    """Raised in the code of a frame that is made anew."""


_CODE = compile("raise Reached", "", "exec")


def _frame(place: Place) -> FrameType:
    """Return a frame that stands for the one at *place*: only a frame that has run can be had."""
    name = {"co_filename": place.filename, "co_name": place.function, "co_qualname": place.function}
    code = _CODE.replace(**name, co_firstlineno=max(place.line or 0, 1))  # type: ignore[arg-type]
    try:
        exec(code, {**_names(place.module), "Reached": _Reached})  # noqa: S102 - code of this file, renamed
    except _Reached as reached:
        trace: Any = reached.__traceback__
        return trace.tb_next.tb_frame  # type: ignore[no-any-return]
    raise AssertionError


def _names(module: str) -> dict[str, Any]:
    """Return the globals of a frame by which its source lines are found where its file is in an archive."""
    names: dict[str, Any] = {"__name__": module}
    with suppress(Exception):  # a module may do as it likes with its attributes
        found = vars(sys.modules[module])
        names |= {name: found[name] for name in ("__loader__", "__spec__", "__file__") if name in found}
    return names
