"""The task's side of its workers' logs: what they send goes through the task's own loggers, handlers and masks."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from structlog.processors import CallsiteParameterAdder, ExceptionRenderer
from structlog.stdlib import ProcessorFormatter

from airflow_joblib.system import plain_json
from airflow_joblib.system.process_start import shared
from airflow_joblib.taskflow.airflow_internals import log_levels, mask_secret
from airflow_joblib.taskflow.logs.levels import Levels
from airflow_joblib.worker.worker import current_item

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

__all__ = ["TaskLog", "item_marks", "levels"]

log = logging.getLogger("airflow_joblib")

#: Characters of a line that a worker has not ended yet, beyond which it is taken for one.
_LONGEST_LINE = 1 << 20
_STREAMS = {"task.stdout": logging.INFO, "task.stderr": logging.ERROR}
#: What structlog, and Airflow after it, would take for their own.
_TAKEN = frozenset({"self", "level", "event", "logger", "exc_info", "stack_info", "positional_args", "exception"})
#: Steps that are found by their type.
_LOOKED_FOR = (CallsiteParameterAdder, ExceptionRenderer)


@shared
@contextmanager
def item_marks() -> Iterator[None]:
    """Add the item to what this process's own threads log while they run one."""
    put = []
    for chain in [structlog.get_config()["processors"], *_chains_of_logging()]:
        step = next((each for each in chain if not isinstance(each, _LOOKED_FOR)), None)
        if step is not None:
            ours = _marking(step)
            _replace(chain, step, ours)
            put.append((chain, step, ours))
    try:
        yield
    finally:
        for chain, step, ours in put:
            _replace(chain, ours, step)


def _replace(chain: list[Any], step: object, other: object) -> None:
    """Put another step in a step's place. The list stays, which loggers keep, and its length.

    Else a thread that logs meanwhile would leave out a step, which may be the one that masks secrets, or repeat one.
    """
    if step in chain:
        chain[chain.index(step)] = other


def _marking(step: Callable[..., Any]) -> Callable[..., Any]:
    def mark(logger: object, method: str, event: dict[str, Any]) -> Any:
        return step(logger, method, _add_item(logger, method, event))

    return mark


def _chains_of_logging() -> list[list[Any]]:
    formatters = {id(handler.formatter): handler.formatter for handler in logging.root.handlers}
    chains = [getattr(formatter, "foreign_pre_chain", None) for formatter in formatters.values()]
    return [chain for chain in chains if isinstance(chain, list)]


def _add_item(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    index = getattr(event.get("_record"), "item", None)  # of a record about an item, by the run
    index = current_item() if index is None else index
    if isinstance(index, int):
        event.setdefault("item", index)
    return event


def levels() -> Levels:
    """Return the levels of this process's loggers."""
    known = list(logging.root.manager.loggerDict.items())
    loggers = [("", logging.root), *((name, logger) for name, logger in known if isinstance(logger, logging.Logger))]
    floors = [handler.level for _, logger in loggers for handler in logger.handlers]
    return Levels(
        loggers=tuple((name, logger.level) for name, logger in loggers if logger.level),
        disabled=tuple(name for name, logger in loggers if logger.disabled),
        floor=min(floors, default=logging.NOTSET),
        off=logging.root.manager.disable,
        structlog=tuple(_structlog_levels().items()),
    )


def _structlog_levels() -> dict[str, int]:
    """Return Airflow's levels of structlog's namespaces, or where they can't be had that of a logger of none."""
    if (levels := log_levels()) is not None:
        return {str(name): int(level) for name, level in levels.items()}
    bound = structlog.get_logger().bind()
    return {"": bound.get_effective_level() if hasattr(bound, "get_effective_level") else logging.INFO}


class TaskLog:
    """Writes what workers send to the task's log, from any thread, in the context of the thread that made this."""

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._context = copy_context()
        processors = list(structlog.get_config()["processors"])
        self._renders_parts = any(isinstance(step, ExceptionRenderer) for step in processors)
        places = [step for step in processors if isinstance(step, CallsiteParameterAdder)]
        plain = [step for step in processors if step not in places]
        # Given a record of logging, structlog takes the place of the call from it, and not from this thread.
        placed = [*places, ProcessorFormatter.remove_processors_meta, *plain]
        self._plain, self._placed = _logger(plain), _logger(placed)
        self._begun: dict[tuple[Hashable, str], dict[str, Any]] = {}

    def take(self, number: Hashable, line: bytes | None) -> None:
        """Write a line of the worker with that number; None when it sends no more. Never raises."""
        try:
            with self._turn:
                self._context.run(self._take, number, line)
        except Exception as error:  # noqa: BLE001 - one bad line must not cost the others
            log.warning("A line of a worker's log is lost: %s", type(error).__name__)

    def _take(self, number: Hashable, line: bytes | None) -> None:
        if line is None:
            self._end(number)
            return
        try:
            data = plain_json.loads(line)
        except ValueError:  # incomplete, as its worker was stopped in the midst of it
            return
        if isinstance(data, dict):
            getattr(self, f"_take_{data.get('kind')}", self._take_nothing)(number, data)

    def _take_nothing(self, number: Hashable, data: dict[str, Any]) -> None:
        pass

    def _take_secret(self, _: Hashable, data: dict[str, Any]) -> None:
        mask_secret(data["secret"], data["name"])

    def _take_warning(self, _: Hashable, data: dict[str, Any]) -> None:
        self._plain.log(logging.WARNING, data["message"], **_fields(data, logger="py.warnings"))

    def _take_stream(self, number: Hashable, data: dict[str, Any]) -> None:
        """Write the lines that are whole."""
        key = (number, data["logger"])
        begun = self._begun.pop(key, {}).get("message", "")
        *lines, rest = (begun + data["message"]).split("\n")
        for line in lines:
            self._write_line({**data, "message": line})
        if len(rest) > _LONGEST_LINE:
            self._write_line({**data, "message": rest})
        elif rest:
            self._begun[key] = {**data, "message": rest}

    def _end(self, number: Hashable) -> None:
        for name in _STREAMS:
            begun = self._begun.pop((number, name), None)
            if begun is not None:
                self._write_line(begun)

    def _write_line(self, data: dict[str, Any]) -> None:
        level = _STREAMS[data["logger"]]
        self._plain.log(level, data["message"].rstrip(), **_fields(data, logger=data["logger"]))

    def _take_structlog(self, _: Hashable, data: dict[str, Any]) -> None:
        self._write(_record(data), data)

    def _take_logging(self, _: Hashable, data: dict[str, Any]) -> None:
        """Write a record, and hand it to what other handlers the task has."""
        record = _record(data)
        logger = logging.getLogger(record.name)
        if logger.disabled or not logger.filter(record):
            return
        for handler in _handlers(logger):
            if record.levelno < handler.level:
                continue
            if not isinstance(handler.formatter, ProcessorFormatter):
                handler.handle(record)
            elif handler.filter(record):
                self._write(record, data)

    def _write(self, record: logging.LogRecord, data: dict[str, Any]) -> None:
        fields = _fields(data, logger=record.name, _record=record, _from_structlog=False)
        if data.get("stack"):
            fields["stack"] = data["stack"]
        if data.get("error"):
            fields["exception"] = data["error" if self._renders_parts else "error_text"]
        level = min(
            record.levelno // 10 * 10, logging.CRITICAL
        )  # Airflow drops what has a level that it has no name for
        self._placed.log(level, data["message"], **fields)


def _logger(processors: list[Any]) -> Any:
    """Return a logger that writes where the task's do, whatever the level: workers have seen to that."""
    wrapper = structlog.make_filtering_bound_logger(logging.NOTSET)
    return structlog.wrap_logger(None, processors=processors, wrapper_class=wrapper).bind()


def _fields(data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the fields of a line of the log, the worker's time and the item's index among them."""
    fields = {key: value for key, value in data.get("fields", {}).items() if key not in _TAKEN}
    fields.setdefault("timestamp", datetime.fromtimestamp(data["created"], UTC).isoformat().replace("+00:00", "Z"))
    if "item" in data:
        fields.setdefault("item", data["item"])
    return {**fields, **more}


def _record(data: dict[str, Any]) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            **data.get("fields", {}),
            **data["place"],
            "name": data["logger"],
            "levelno": data["level"],
            "levelname": logging.getLevelName(data["level"]),
            "msg": data["message"],
            "args": (),
            "created": data["created"],
            "msecs": data["created"] % 1 * 1000,
            "exc_text": data.get("error_text"),
            "stack_info": data.get("stack"),
            "item": data.get("item"),
        }
    )


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Yield the handlers that see a logger's records."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
