"""The worker's side of its log: whatever an item logs goes to the task's process. Imports no Airflow.

``logging``, structlog where it is imported, ``print``, warnings and secrets to be masked all end in
:func:`.worker_channel.send`.
Where the task can't be reached any more, what is logged goes to the error stream, and no item gets an error for it.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_names import LOUD, MASKERS
from airflow_joblib.taskflow.logs.records import of_record, of_text, of_warning
from airflow_joblib.taskflow.logs.sender import Sender
from airflow_joblib.taskflow.logs.worker_channel import fall_back, mask_secret, send, use

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.taskflow.logs.levels import Levels

__all__ = ["Logs"]

_levels: Levels
#: Streams that were replaced: let go, they would close the descriptors that they have in common with the new ones.
_kept: list[object] = []


@dataclass(frozen=True)
class Logs:
    """What a worker is given to send its log. Called, it sees to it that all goes there.

    Attributes:
        address: Where the task listens.
        key: What shows the task and the worker to each other.
        task: The process id of the task, which is no worker whatever the backend does.
        levels: The task's levels.
    """

    address: str
    key: bytes
    task: int
    levels: Levels

    def __call__(self) -> None:
        """Send from now on."""
        global _levels  # noqa: PLW0603 - a worker process is what this module's state describes
        if os.getpid() == self.task:
            return
        sender = Sender(self.address, self.key)
        if not sender.connect():
            return
        use(sender)
        _levels = self.levels
        _kept.append((sys.stdout, sys.stderr))
        sys.stdout, sys.stderr = _stream(1, "task.stdout"), _stream(2, "task.stderr")
        _take_all_loggers()
        _install()
        _set_loud(logging.WARNING)
        when_imported("structlog", _install_structlog)
        # Airflow sets logging up anew while it is imported, and masks settings that are those of no task.
        when_imported("airflow", _after_airflow)


def _install_structlog() -> None:
    from airflow_joblib.taskflow.logs import worker_structlog

    worker_structlog.install(_levels)


def _set_loud(level: int) -> None:
    for name in LOUD:
        logging.getLogger(name).setLevel(level)


def _after_airflow() -> None:
    _set_loud(logging.NOTSET)
    _install()
    if "structlog" in sys.modules:
        _install_structlog()
    when_imported(MASKERS, _watch_masker)


# logging


class _Handler(logging.Handler):
    """Sends records of ``logging``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sent = send(of_record(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)
            return
        if not sent:
            fall_back(f"{record.levelname} {record.name}: {self.format(record)}\n")


def _take_all_loggers() -> None:
    """Take the handlers that a forked worker has of the task: the task's own see each record that is sent."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = []
            logger.propagate = True


def _install() -> None:
    """Take over ``logging`` and warnings, with the task's levels."""
    logging.root.handlers[:] = [_Handler(_levels.floor)]
    for name, level in _levels.loggers:
        logging.getLogger(name).setLevel(level)
    for name in _levels.disabled:
        logging.getLogger(name).disabled = True
    logging.disable(_levels.off)
    warnings.showwarning = partial(_show_warning, warnings.showwarning)


def _show_warning(  # noqa: PLR0913, PLR0917 - the signature of warnings.showwarning
    otherwise: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        otherwise(message, category, filename, lineno, file, line)
    elif _levels.takes_warnings and not send(of_warning(message, category, filename, lineno)):
        fall_back(warnings.formatwarning(message, category, filename, lineno, line))


# print


class _Lines(io.RawIOBase):
    """Sends what is written to a standard stream."""

    def __init__(self, descriptor: int, logger: str) -> None:
        self._descriptor = descriptor
        self._logger = logger
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        text = self._decoder.decode(bytes(data))
        if text and not send(of_text(text, self._logger)):
            fall_back(text, self._descriptor)
        return len(data)


def _stream(descriptor: int, logger: str) -> TextIO:
    # Without a buffer between: its lock would be held while a line is sent, which has one of its own.
    return io.TextIOWrapper(
        cast("BinaryIO", _Lines(descriptor, logger)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


# secrets


def _watch_masker() -> None:
    """Tell the task of every text that is to be masked from now on."""
    kind = airflow_internals.SecretsMasker
    add = kind.add_mask

    def add_mask(self: Any, secret: Any, name: str | None = None) -> None:
        add(self, secret, name)
        if isinstance(secret, str) and secret:  # of a mapping or a list each part comes by
            mask_secret(secret, name)

    kind.add_mask = add_mask
    airflow_internals.log_short_secrets(wanted=False)  # the task does, once
