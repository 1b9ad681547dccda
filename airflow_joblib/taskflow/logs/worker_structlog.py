"""What structlog's loggers log in a worker. Imported there once a user's code has imported structlog."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog

from airflow_joblib.taskflow.logs import records
from airflow_joblib.taskflow.logs.worker_channel import fall_back, send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_joblib.taskflow.logs.levels import Levels

__all__ = ["LEVELS", "as_data", "install"]

LEVELS = {
    "debug": 10,
    "info": 20,
    "warn": 30,
    "warning": 30,
    "error": 40,
    "exception": 40,
    "fatal": 50,
    "critical": 50,
}


def install(levels: Levels) -> None:
    """Take over what structlog's loggers log, those that hold the task's set-up in a forked worker too."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[],
            wrapper_class=cast("Any", partial(_filtering, levels)),
            logger_factory=_named,
            cache_logger_on_first_use=False,
        )
    # Loggers keep the list itself, so that it has to be changed in its place.
    structlog.get_config()["processors"][:] = [structlog.contextvars.merge_contextvars, _ship]


def _named(name: str = "", *_: object) -> Any:
    """Make what structlog's logger ends in: it has a name, and is written to only if a user has set structlog up."""
    logger: Any = structlog.PrintLogger()
    logger.name = name
    return logger


def _filtering(levels: Levels, logger: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a logger of structlog that takes what the task's would take."""
    name = kwargs.get("context", {}).get("logger_name") or getattr(logger, "name", "")
    # structlog knows no levels but these.
    level = max(known for known in (0, 10, 20, 30, 40, 50) if known <= max(levels.of_structlog(str(name)), 0))
    wrapper: Any = structlog.make_filtering_bound_logger(level)
    return wrapper(logger, *args, **kwargs)


def _ship(logger: Any, method: str, event: Mapping[str, Any]) -> Any:
    """Send an event of structlog, as its last processor."""
    data = as_data(logger, method, event)
    if not send(data):
        name, message, fields = data["logger"], data["message"], data["fields"]
        fall_back(f"{method.upper()} {name}: {message} {fields}\n{data.get('error_text', '')}\n")
    raise structlog.DropEvent


def as_data(logger: Any, method: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of structlog as plain data."""
    fields, frame = dict(event), records.caller()
    return {
        "kind": "structlog",
        "logger": str(fields.pop("logger_name", None) or getattr(logger, "name", None) or ""),
        "level": LEVELS.get(method, logging.INFO),
        "message": _message(fields),
        "created": time.time(),
        "place": records.call_site(frame),
        **records.error_of(fields.pop("exc_info", method == "exception")),
        "stack": records.stack_of(frame) if fields.pop("stack_info", False) else None,
        "fields": fields,
    }


def _message(fields: dict[str, Any]) -> str:
    message, args = str(fields.pop("event", "")), fields.pop("positional_args", ())
    return message % args if args else message
