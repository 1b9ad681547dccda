"""From what a worker logs to plain data, and to a line of JSON. Imports no Airflow and no structlog.

A line has the same form whichever way leads to it: :mod:`.worker` takes over a process of a run's own, and
:mod:`airflow_joblib.taskflow.cluster.worker_logs` the threads of a run in a process that others use too.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import plain_json
from airflow_joblib.taskflow.airflow_names import LOGGING
from airflow_joblib.taskflow.relay.framing import LONGEST
from airflow_joblib.worker.worker import current_item

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType, TracebackType

__all__ = [
    "call_site",
    "caller",
    "encode",
    "error_of",
    "of_record",
    "of_secret",
    "of_text",
    "of_warning",
    "own_fields",
    "place_of",
    "stack_of",
]

#: Characters that stay of a message that is longer than a line may be.
_SHORTENED = LONGEST // 16
_MOST_FRAMES = 50
_NOT_EXTRA = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: What of a record holds where it was made.
_PLACE = ("pathname", "filename", "module", "lineno", "funcName", "thread", "threadName", "process", "processName")
_LOGGING = ("logging", "structlog", *LOGGING, "airflow_joblib.taskflow")


def encode(data: dict[str, Any]) -> bytes:
    """Return a line of JSON that names the item.

    What JSON has no word for becomes text, and a line that is too long is cut.
    """
    index = current_item()
    if index is not None:
        data = {**data, "item": index}
    try:
        line = plain_json.dumps(data, default=_text)
    except (TypeError, ValueError, RecursionError):
        data = {**data, "fields": {str(key): _text(value) for key, value in data.get("fields", {}).items()}}
        line = plain_json.dumps(data, default=_text)
    if len(line) > LONGEST - 1:
        message = str(data.get("message"))
        cut = f"{message[:_SHORTENED]} ... ({len(message):,} characters in all)"
        line = plain_json.dumps(
            {**data, "message": cut, "fields": {}, "error": None, "error_text": None, "stack": None}
        )
    return line.encode() + b"\n"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not cost the record
        return f"<{type(value).__qualname__}>"


def own_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a call of ``logging`` gave as *extra*; not what a factory of records adds, as Ray's does."""
    return {key: value for key, value in vars(record).items() if key not in _NOT_EXTRA and not key.startswith("_")}


def place_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return where a record was made."""
    return {key: getattr(record, key) for key in _PLACE}


def caller() -> FrameType:
    """Return the frame of the code that called structlog."""
    frame: FrameType = sys._getframe()  # noqa: SLF001 - as logging does
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_LOGGING):
        frame = frame.f_back
    return frame


def call_site(frame: FrameType) -> dict[str, Any]:
    """Return where a frame is, in the words of a record of ``logging``."""
    code = frame.f_code
    return place_of(logging.LogRecord("", 0, code.co_filename, frame.f_lineno, "", None, None, code.co_name))


def stack_of(frame: FrameType) -> str:
    """Return the calls that led to a frame, as ``logging`` words them."""
    return "Stack (most recent call last):\n" + "".join(traceback.format_stack(frame)).rstrip("\n")


def error_of(error: object) -> dict[str, Any]:
    """Return the exception that a record is about, in words and in parts: none, one, its triple, or the one handled."""
    if error and not isinstance(error, BaseException):
        error = error[1] if isinstance(error, tuple) else sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return {}
    return {"error": described(error), "error_text": "".join(traceback.format_exception(error)).rstrip("\n")}


def described(error: BaseException, seen: set[int] | None = None) -> list[dict[str, Any]]:
    """Return an exception, and what led to it, in the parts that Airflow's logs are made of."""
    seen, stacks, is_cause = seen if seen is not None else set(), [], False
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        stacks.append(_stack(following, seen, is_cause=is_cause))
        following, is_cause = _behind(following)
    return stacks


def _behind(error: BaseException) -> tuple[BaseException | None, bool]:
    cause, context = error.__cause__, error.__context__
    if cause is not None and cause.__traceback__ is not None:
        return cause, True
    if context is not None and context.__traceback__ is not None and not error.__suppress_context__:
        return context, False
    return None, False


def _stack(error: BaseException, seen: set[int], *, is_cause: bool) -> dict[str, Any]:
    group = isinstance(error, BaseExceptionGroup)
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return {
        "exc_type": type(error).__name__,
        "exc_value": _text(error),
        "exc_notes": [_text(note) for note in getattr(error, "__notes__", ())],
        "syntax_error": _syntax(error) if isinstance(error, SyntaxError) else None,
        "is_cause": is_cause,
        "frames": _frames(error.__traceback__),
        "is_group": group,
        "exceptions": [described(part, seen) for part in parts],
    }


def _syntax(error: SyntaxError) -> Mapping[str, Any]:
    return {
        "offset": error.offset or 0,
        "filename": error.filename or "?",
        "line": error.text or "",
        "lineno": error.lineno or 0,
        "msg": error.msg,
    }


def _frames(trace: TracebackType | None) -> list[dict[str, Any]]:
    frames = [_frame(frame, line) for frame, line in traceback.walk_tb(trace)]
    if len(frames) <= _MOST_FRAMES:
        return frames
    half = _MOST_FRAMES // 2
    skipped = {"filename": "", "lineno": -1, "name": f"Skipped frames: {len(frames) - 2 * half}"}
    return [*frames[:half], skipped, *frames[-half:]]


def _frame(frame: FrameType, line: int) -> dict[str, Any]:
    name = frame.f_code.co_filename
    filename = name if name.startswith("<") else os.path.abspath(name)  # noqa: PTH100 - plain text
    return {"filename": filename or "?", "lineno": line, "name": frame.f_code.co_name}


def of_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record of ``logging`` as plain data."""
    return {
        "kind": "logging",
        "logger": record.name,
        "level": record.levelno,
        "message": record.getMessage(),
        "created": record.created,
        "place": place_of(record),
        "fields": own_fields(record),
        "stack": record.stack_info,
        **error_of(record.exc_info),
    }


def of_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int) -> dict[str, Any]:
    """Return a warning as plain data."""
    fields = {"category": category.__name__, "filename": filename, "lineno": lineno}
    return {"kind": "warning", "message": str(message), "created": time.time(), "fields": fields}


def of_text(text: str, logger: str) -> dict[str, Any]:
    """Return as plain data what was written to a standard stream."""
    return {"kind": "stream", "logger": logger, "message": text, "created": time.time()}


def of_secret(secret: str, name: str | None) -> dict[str, Any]:
    """Return as plain data a text that is to be masked from now on, and the name that it has."""
    return {"kind": "secret", "secret": secret, "name": name}
