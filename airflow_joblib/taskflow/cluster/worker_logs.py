"""What threads of a run log in a worker of a cluster: ``logging``, structlog, print, warnings, secrets. No Airflow.

What belongs to the process is never set, since others use it too. In its way stands a look at who logs something: a
thread of a run, then it goes to that run's task; any other, then it goes where it went before.
"""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from functools import partial, wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.system.internals import need
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_names import MASKERS
from airflow_joblib.taskflow.cluster.thread_route import current_route
from airflow_joblib.taskflow.logs.records import of_record, of_text, of_warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.taskflow.cluster.thread_route import ThreadRoute
    from airflow_joblib.taskflow.logs.levels import Levels

__all__ = ["Wanted", "install", "take_back"]


class Wanted:
    """What of a run's log its task wants.

    Args:
        levels: The task's levels.
    """

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self._loggers = dict(levels.loggers)
        self._disabled = frozenset(levels.disabled)

    def takes(self, logger: logging.Logger, level: int) -> bool:
        """Return whether the task's logger of that name takes records of a level; where it has none, the nearest."""
        if level <= self.levels.off or level < self.levels.floor or logger.name in self._disabled:
            return False
        return level >= self._level(logger)

    def _level(self, logger: logging.Logger) -> int:
        """Return the level of the nearest logger that has one: here as well, where an item may have set it."""
        name, here_too = "" if logger is logging.root else logger.name, logger.manager.loggerDict
        while name:
            level = self._loggers.get(name) or getattr(here_too.get(name), "level", logging.NOTSET)
            if level:
                return level
            name = name.rpartition(".")[0]
        return self._loggers.get("", logging.WARNING)


def install() -> Callable[[], None]:
    """Stand in the way of all that a process logs; gives what takes that back."""
    undo: list[Callable[[], None]] = []

    def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = getattr(owner, name)
        ours = make(before)
        setattr(owner, name, ours)

        def restore() -> None:
            if getattr(owner, name) is ours:  # else somebody has put theirs in front of it, which has to stay
                setattr(owner, name, before)

        undo.append(restore)

    try:
        replace(logging.Logger, "isEnabledFor", _is_enabled_for)
        replace(logging.Logger, "callHandlers", _call_handlers)
        replace(warnings, "showwarning", _show_warning)
        replace(sys, "stdout", lambda stream: _Stream(stream, "task.stdout"))
        replace(sys, "stderr", lambda stream: _Stream(stream, "task.stderr"))
        undo.append(when_imported("structlog", lambda: _replace_structlog(replace)))
        undo.append(when_imported(MASKERS, lambda: replace(airflow_internals.SecretsMasker, "add_mask", _add_mask)))
    except BaseException:  # what is imported already may be an unknown version
        take_back(undo)
        raise
    return partial(take_back, undo)


def take_back(undo: list[Callable[[], None]]) -> None:
    """Undo what was put in place, the last first; what fails keeps nothing else from being undone."""
    while undo:
        with suppress(Exception):
            undo.pop()()


def _is_enabled_for(before: Callable[[logging.Logger, int], bool]) -> Any:
    @wraps(before)
    def is_enabled_for(self: logging.Logger, level: int) -> bool:
        route = current_route.get()
        return before(self, level) if route is None else route.session.levels.takes(self, level)

    return is_enabled_for


def _call_handlers(before: Callable[[logging.Logger, logging.LogRecord], None]) -> Any:
    @wraps(before)
    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        route = current_route.get()
        if route is None:
            before(self, record)
            return
        _to_own_handlers(self, record)
        try:
            route.say(of_record(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            logging.Handler().handleError(record)

    return call_handlers


def _to_own_handlers(logger: logging.Logger | None, record: logging.LogRecord) -> None:
    """Hand a record to handlers that an item may have added; the root's are the process's own."""
    while logger is not None and logger.parent is not None:
        for handler in logger.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        logger = logger.parent if logger.propagate else None


def _show_warning(before: Callable[..., None]) -> Any:
    @wraps(before)
    def show_warning(  # noqa: PLR0913, PLR0917 - the signature of warnings.showwarning
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        route = current_route.get()
        if route is None or file is not None:
            before(message, category, filename, lineno, file, line)
        elif route.session.levels.levels.takes_warnings:
            route.say(of_warning(message, category, filename, lineno))

    return show_warning


class _Stream:
    """A standard stream, as others see it; what threads of a run write to it goes to their task."""

    def __init__(self, stream: Any, logger: str) -> None:
        self._stream = stream
        self._logger = logger

    def write(self, text: str) -> int:
        route = current_route.get()
        if route is None:
            return self._stream.write(text)  # type: ignore[no-any-return]
        if not isinstance(text, str):
            msg = f"write() argument must be str, not {type(text).__name__}"
            raise TypeError(msg)
        if text:
            route.say(of_text(text, self._logger))
        return len(text)

    def writelines(self, texts: Any) -> None:
        for text in texts:
            self.write(text)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _replace_structlog(replace: Callable[[Any, str, Callable[[Any], Any]], None]) -> None:
    import structlog

    bound, lazy = structlog.BoundLogger(None, [], {}), structlog.get_logger()
    need("structlog", structlog.BoundLoggerBase, ("_proxy_to_logger",), of="BoundLoggerBase")
    # Of loggers themselves only what they hold: they answer to any name.
    need("structlog", SimpleNamespace(**vars(bound)), ("_context", "_logger", "_processors"), of="BoundLogger")
    need("structlog", SimpleNamespace(**vars(lazy)), ("_logger_factory_args",), of="the logger of get_logger()")
    replace(structlog.BoundLoggerBase, "_proxy_to_logger", _proxy_to_logger)
    replace(type(lazy), "bind", _bind)


def _proxy_to_logger(before: Callable[..., Any]) -> Any:
    @wraps(before)
    def proxy_to_logger(self: Any, method_name: str, event: str | None = None, **event_kw: Any) -> Any:
        route = current_route.get()
        if route is None:
            return before(self, method_name, event, **event_kw)
        _ship(route, self, method_name, {**self._context, **event_kw, "event": event})
        return None

    return proxy_to_logger


def _ship(route: ThreadRoute, bound: Any, method: str, event: dict[str, Any]) -> None:
    from structlog.contextvars import merge_contextvars

    from airflow_joblib.taskflow.logs.worker_structlog import LEVELS, as_data

    name = event.get("logger_name") or getattr(bound._logger, "name", None) or ""  # noqa: SLF001
    if LEVELS.get(method, logging.INFO) >= route.session.levels.levels.of_structlog(str(name)):
        route.say(as_data(bound._logger, method, merge_contextvars(bound, method, event)))  # noqa: SLF001


def _bind(before: Callable[..., Any]) -> Any:
    @wraps(before)
    def bind(self: Any, **new_values: Any) -> Any:
        if current_route.get() is None:
            return before(self, **new_values)
        bound = _unfiltered(before(self))
        vars(self).pop("bind", None)  # it keeps what it has made, which others would find
        name = self._logger_factory_args[:1]
        if name and not getattr(bound._logger, "name", None):  # noqa: SLF001
            with suppress(AttributeError):  # structlog's own factory forgets the name
                bound._logger.name = str(name[0])  # noqa: SLF001
        return bound.bind(**new_values) if new_values else bound

    return bind


def _unfiltered(bound: Any) -> Any:
    """Return a logger of all levels in the place of one with the levels of this process, not the task's."""
    import structlog

    if "FilteringAt" not in type(bound).__name__:
        return bound
    kind: Any = structlog.make_filtering_bound_logger(logging.NOTSET)
    return kind(bound._logger, bound._processors, bound._context)  # noqa: SLF001


def _add_mask(before: Callable[..., None]) -> Any:
    @wraps(before)
    def add_mask(self: Any, secret: Any, name: str | None = None) -> None:
        route = current_route.get()
        if route is None or not isinstance(secret, str):  # of a mapping or a list each part comes by
            before(self, secret, name)
        elif secret:  # the task masks it; here it would stay when the run is over
            route.mask(secret, name)

    return add_mask
