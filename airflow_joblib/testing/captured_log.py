"""The log of the task in a unit test: Airflow's own set-up, whose end is a list instead of a socket."""

from __future__ import annotations

import codecs
import io
import json
import logging
import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from structlog.stdlib import ProcessorFormatter

from airflow_joblib.taskflow import airflow_internals, airflow_restored

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TaskLog", "captured"]


class TaskLog(io.RawIOBase):
    """Takes what a task sends to its supervisor for the log, and does with it what that does: parse and mask it."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._begun = b""
        self._turn = threading.Lock()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Take lines of JSON; one may come in parts."""
        with self._turn:
            *lines, self._begun = (self._begun + bytes(data)).split(b"\n")
        for line in filter(None, lines):
            self.add(json.loads(line))
        return len(data)

    def add(self, record: dict[str, Any]) -> None:
        """Add a record, with the secrets masked that are known by now."""
        error = record.pop("exception", None)
        if error:
            record["error_detail"] = error
        self.records.append(airflow_internals.redact(record))


class _Stream(io.TextIOWrapper):
    """Writes to a standard stream, and to the log as the supervisor does it with what a task prints."""

    def __init__(self, log: TaskLog, stream: Any, logger: str, level: str) -> None:
        self._lines = _Lines(log, stream, {"level": level, "logger": logger})
        super().__init__(self._lines, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)

    def end(self) -> None:
        """Log the rest of a line that has not been finished."""
        self.flush()
        self._lines.end()

    def fileno(self) -> int:
        return self._lines.fileno()


class _Lines(io.BufferedIOBase):
    """The bytes of a :class:`_Stream`.

    Args:
        log: Takes each line.
        stream: Takes all of it as it comes; a text stream, which need not have bytes.
        names: What each line's record has besides.
    """

    def __init__(self, log: TaskLog, stream: Any, names: dict[str, str]) -> None:
        self._log, self._stream, self._names = log, stream, names
        self._begun = b""
        self._turn = threading.Lock()
        self._text = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    @property
    def name(self) -> str:
        return str(getattr(self._stream, "name", ""))

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with self._turn:
            *lines, self._begun = (self._begun + bytes(data)).split(b"\n")
            text = self._text.decode(bytes(data))
        for line in lines:
            self._add(line)
        self._stream.write(text)
        return len(data)

    def _add(self, line: bytes) -> None:
        event = line.decode("utf-8", "backslashreplace").rstrip()
        self._log.add({"timestamp": _now(), "event": event, **self._names})

    def end(self) -> None:
        """Log the rest."""
        with self._turn:
            rest, self._begun = self._begun, b""
        if rest:
            self._add(rest)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open, which is not this one's own."""

    def fileno(self) -> int:
        return int(self._stream.fileno())


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def captured() -> Iterator[TaskLog]:
    """Give the log of the task that runs in this block; all of logging is as it was afterwards.

    Handlers that were there before, those of pytest and of the user, go on to see what is logged.
    """
    log = TaskLog()
    with ExitStack() as stack:
        stack.enter_context(_logging_restored())
        stack.enter_context(_structlog_restored())
        stack.enter_context(_configured(log))
        out, err = _Stream(log, sys.stdout, "task.stdout", "info"), _Stream(log, sys.stderr, "task.stderr", "error")
        stack.callback(err.end)
        stack.callback(out.end)
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        yield log


@contextmanager
def _configured(log: TaskLog) -> Iterator[None]:
    """Set logging up as in a task; the loggers that this makes take all levels afterwards, as new ones do."""
    known = set(_loggers())
    _configure(log)
    made = set(_loggers()) - known
    try:
        yield
    finally:
        for logger in made:
            logger.setLevel(logging.NOTSET)


def _configure(log: TaskLog) -> None:
    show = warnings.showwarning
    before = [one for one in logging.root.handlers if not isinstance(one.formatter, ProcessorFormatter)]
    airflow_internals.configure_logging.__wrapped__(  # which remembers by its arguments that it was called
        json_output=True, output=log, cache_logger_on_first_use=False, sending_to_supervisor=True
    )
    for handler in before:
        logging.root.addHandler(handler)
    warnings.showwarning = _shown_twice(warnings.showwarning, show, sys.stderr)


def _shown_twice(log: Any, before: Any, stream: Any) -> Any:
    """Return what logs a warning as a task does, and shows it where it was shown before: ``pytest.warns``, a terminal.

    Args:
        log: Logs a warning.
        before: Shows it otherwise.
        stream: Where to, unless something records warnings; a stream that goes to the log has it already.
    """

    def show(  # noqa: PLR0913, PLR0917 - as warnings.showwarning
        message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None
    ) -> None:
        log(message, category, filename, lineno, file, line)
        if file is None:
            before(message, category, filename, lineno, stream, line)

    return show


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Put back every logger, and keep the handlers that there are from being closed: a new set-up closes all."""
    state = [(logger, *_state(logger)) for logger in _loggers()]
    handlers: list[Any] = vars(logging).get("_handlerList", [])
    by_name: Any = vars(logging).get("_handlers", {})
    known, names = list(handlers), dict(by_name)
    handlers.clear()
    disabled = logging.root.manager.disable
    hook, show = sys.excepthook, warnings.showwarning
    try:
        with airflow_restored.warnings_restored():
            yield
    finally:
        sys.excepthook, warnings.showwarning = hook, show
        logging.disable(disabled)
        handlers[:] = known
        by_name.clear()
        by_name.update(names)
        for logger, level, own, propagate, off in state:
            logger.setLevel(level)
            logger.handlers[:], logger.propagate, logger.disabled = own, propagate, off


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


def _state(logger: logging.Logger) -> tuple[int, list[logging.Handler], bool, bool]:
    return logger.level, list(logger.handlers), logger.propagate, logger.disabled


@contextmanager
def _structlog_restored() -> Iterator[None]:
    configured, before = structlog.is_configured(), structlog.get_config()
    levels: Any = airflow_internals.log_levels()
    known = dict(levels.items()) if levels is not None else {}
    try:
        yield
    finally:
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
        if levels is not None:
            levels.clear()
            levels.update(known)
