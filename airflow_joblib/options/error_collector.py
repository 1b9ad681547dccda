"""Errors of parallel tasks, collected in place of being raised, so that a check of a DAG file finds all of them.

::

    decorator, while a DAG is parsed ──► errors_collected ──► raised, as ever
                                                 └──────► taken by the check that loads the file, which goes on
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airflow_joblib.exceptions import InvalidOptionError, ParallelTaskError
from airflow_joblib.options.options import Options, option_names, unknown_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ErrorCollector", "collecting", "errors_collected", "report_decorated", "report_task", "split_options"]


class ErrorCollector(Protocol):
    """What takes the errors."""

    def option(self, name: str, error: InvalidOptionError) -> None:
        """Take an option that has a value it can't have, or is misspelt."""

    def fault(self, parallel: Any, error: ParallelTaskError) -> None:
        """Take what keeps a parallel task from its workers."""

    def decorated(self, parallel: Any) -> None:
        """Take a parallel task that was made by the decorator, or from another one."""

    def task(self, parallel: Any) -> None:
        """Take a parallel task that a DAG has."""


_collector: ErrorCollector | None = None


@contextmanager
def collecting(collector: ErrorCollector) -> Iterator[None]:
    """Collect for as long as the block runs, in all threads of this process."""
    global _collector  # noqa: PLW0603 - there is one check in a process, and the file it loads may have threads
    _collector = collector
    try:
        yield
    finally:
        _collector = None


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of a decorator from those of the Airflow task; without wrong ones, where errors are collected.

    Raises:
        InvalidOptionError: One is misspelt.
    """
    names, valid = option_names(), _valid(options)
    own = {name: value for name, value in valid.items() if name in names}
    others = {name: value for name, value in valid.items() if name not in names}
    for name in others:
        if error := unknown_option(name):
            raise error
    return own, others


def _valid(options: Mapping[str, Any]) -> Mapping[str, Any]:
    if _collector is None:
        return options
    found = {}
    for name, value in options.items():
        if error := _error_of(name, value):
            _collector.option(name, error)
        else:
            found[name] = value
    return found


def _error_of(name: str, value: Any) -> InvalidOptionError | None:
    if name not in option_names():
        return unknown_option(name)
    try:
        Options(**{name: value})
    except InvalidOptionError as error:
        return error
    return None


def report_decorated(parallel: Any) -> None:
    """Take note of a parallel task, wherever its file keeps it, if somebody collects."""
    if _collector is not None:
        _collector.decorated(parallel)


def report_task(parallel: Any) -> None:
    """Take note that a DAG has a task made of a parallel task, if somebody collects."""
    if _collector is not None:
        _collector.task(parallel)


@contextmanager
def errors_collected(parallel: Any) -> Iterator[None]:
    """Collect an error about a parallel task that the block raises, if somebody does, and go on.

    Raises:
        ParallelTaskError: Nobody does.
    """
    try:
        yield
    except ParallelTaskError as error:
        if _collector is None:
            raise
        _collector.fault(parallel, error)
