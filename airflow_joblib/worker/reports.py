"""The report of a chunk, made fit to be sent to the task: what can't be sent is reported in its place."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import Culprit, NotPicklableError, ParallelTaskError
from airflow_joblib.pickling.by_name import dumps_by_name
from airflow_joblib.pickling.inherited import inherited_state
from airflow_joblib.pickling.pickler import dumps, loads
from airflow_joblib.pickling.refusals import dotted_name
from airflow_joblib.wire.records import ItemError
from airflow_joblib.wire.tracebacks import taken_apart
from airflow_joblib.worker.worker import from_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_joblib.wire.records import Report
    from airflow_joblib.wire.tracebacks import Trace
    from airflow_joblib.worker.worker import Worker

__all__ = ["pack", "task_classes", "unread"]

#: Classes that the task has, so that results refer to them by key.
task_classes: set[type] = set()

_ALONE = "Return plain data, or set batch_size=1."


def unread(report: Report, error: Exception, items: int, worker: Worker) -> Report:
    """Enter that a chunk can't be loaded: that is its one item's failure, or its items have to come one by one."""
    if items == 1:
        report.failures.append(worker.failure(report.first, from_user(error), loading=True))
        report.values.append(None)
    else:
        report.unreadable = True
    return report


def pack(report: Report, indices: Sequence[int]) -> bytes:
    """Pickle a report; where that fails, find the values that can't be sent and report them instead."""
    traces: dict[int, Trace] = {}
    report.failures = [_sendable(failure, traces) for failure in report.failures]
    report.skip = report.skip and _sendable(report.skip, traces)
    try:
        return _dumps(report, verify=True)
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        return _dumps(_without_culprits(report, indices if report.positions is None else report.positions))


def _dumps(obj: object, *, verify: bool = False) -> bytes:
    """Pickle for the task, by name where this process is a fork of it."""
    given = inherited_state()
    return dumps(obj, task_classes, verify=verify) if given is None else dumps_by_name(obj, given, verify=verify)


def _without_culprits(report: Report, indices: Sequence[int]) -> Report:
    from airflow_joblib.pickling.culprits.search import find_culprits

    found = False
    for offset, value in enumerate(report.values):
        try:
            _dumps(value, verify=True)
        except Exception:  # noqa: BLE001
            index, found = indices[offset], True
            error = NotPicklableError(find_culprits(value, f"result of item {index}"))
            report.failures.append(ItemError(index, error, verdict="fail"))
            report.values[offset] = None
    if not found:
        path = f"results from item {report.first} on"
        culprit = Culprit(path, "list", "each can be pickled, but not all together.", _ALONE)
        report.failures.append(ItemError(report.first, NotPicklableError([culprit]), verdict="end"))
        report.values = [None]
    report.failures.sort(key=lambda failure: failure.index)
    return report


def _sendable(failure: ItemError, traces: dict[int, Trace]) -> ItemError:
    """Add the traceback, which pickling drops; replace an exception that would not arrive.

    Several items may have raised the same exception, which is taken apart once.
    """
    trace = traces.get(id(failure.error))
    if trace is None:
        trace = traces[id(failure.error)] = taken_apart(failure.error, _travelling)
    return replace(failure, error=_travelling(failure.error), trace=trace)


def _travelling(error: BaseException) -> BaseException:
    """Return an exception, or where it would not arrive one with the same text."""
    try:
        loads(_dumps(error))
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        formatted = traceback.TracebackException.from_exception(error)  # str(error) may raise
        return ParallelTaskError(f"{dotted_name(type(error))}: {formatted} (the exception itself could not be pickled)")
    return error
