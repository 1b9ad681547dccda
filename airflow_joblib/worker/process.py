"""A worker that is a process: its state, its signals, and bytes in and out.

::

    payload ─► start ─► the call is loaded at the first chunk
    chunk   ─► run_chunk ─► Worker.run ─► Report ─► bytes
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing import util
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import Culprit, NotPicklableError, ParallelTaskError
from airflow_joblib.pickling.by_name import dumps_by_name
from airflow_joblib.pickling.inherited import current
from airflow_joblib.pickling.own_modules import made
from airflow_joblib.pickling.pickler import dumps, loads
from airflow_joblib.pickling.refusals import dotted_name
from airflow_joblib.system import clock, isolation, native_threads, warning_filters
from airflow_joblib.system.process_start import forget_safe_path
from airflow_joblib.system.time_limits import LOOK
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.wire.records import ItemError, Payload, Report
from airflow_joblib.wire.shared_pickle import receive
from airflow_joblib.wire.status_board import RESOURCES, Held, Slot
from airflow_joblib.wire.tracebacks import taken_apart
from airflow_joblib.worker import signals
from airflow_joblib.worker.loading import Loading
from airflow_joblib.worker.worker import Worker, from_user, inside_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from airflow_joblib.wire.call import Call

__all__ = [
    "Starter",
    "close",
    "inside_worker",
    "known",
    "leave",
    "pack",
    "run_chunk",
    "run_chunk_anywhere",
    "run_inherited",
    "start",
    "unread",
]


_ALONE = "Return plain data, or set batch_size=1."

_worker: Worker | None = None
_payload: Payload | None = None
_slot = Slot()
_loading = Loading()
#: Classes that the task has, so that results refer to them by key.
known: set[type] = set()
_running = False
_closing = False
_asked_to_leave = False
_local = threading.local()


def inside_worker() -> bool:
    """Tell whether this code runs in a worker of a fan-out, as a process or as a thread."""
    return _payload is not None or inside_thread()


def start(payload: Payload, starter: Starter | None = None) -> None:
    """Make this process a worker, before anything of the user is loaded in it."""
    global _payload, _worker, _slot, _loading
    forget_safe_path()
    if payload.local and payload.closed:
        isolation.close_to_others()
    _payload, _worker, _slot, _loading = payload, None, Slot(payload.board), Loading()
    util.Finalize(None, _close_for_good, exitpriority=100)
    signals.set_up(_leave)
    if payload.local and current() is None:
        made.begin()
        multiprocessing.set_start_method(payload.start_method, force=True)  # in the place of loky's
        _end_with(payload.task, own=starter is None or starter.own)
    if payload.threads is not None:
        native_threads.apply(payload.threads)
    _seed()
    if payload.filters:
        warning_filters.apply(payload.filters)
    if payload.prepare is not None:
        with _loading.measured():
            payload.prepare()
    if payload.local and current() is None:
        gc.freeze()  # modules stay: no collection has to look through them, as loky's first one would for 20 ms


def _seed() -> None:
    """Give a forked worker random numbers of its own: Python sees to its module's after a fork, NumPy does not."""
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def leave() -> None:
    """Leave the resources of this process's worker, which has nothing more to do."""
    _close_for_good()


class Starter:
    """Who starts a worker: as it is pickled for one, it takes note whether that is the run's own thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.own = True

    def __getstate__(self) -> dict[str, object]:
        return {"own": threading.get_ident() == self._thread}


def _end_with(parent: int, *, own: bool) -> None:
    """End this process as soon as the task's does, whatever it is doing: nobody waits for its items any more.

    The kernel kills it (Linux, ``prctl(2)``): when the *thread* ends that started it, so only where that is the run's
    *own*. Where it is another, as loky's is that replaces a worker whose memory has grown and that ends before its
    workers, where there is no such call, or where a fork server stands between the two, a thread looks.
    """
    task = multiprocessing.parent_process()
    if os.getppid() == parent:
        if not (own and isolation.end_with_parent()):
            threading.Thread(target=_outlast_parent, args=(parent,), daemon=True).start()
        gone = os.getppid() != parent
    else:  # loky, which has no fork server, knows no sentinel
        gone = task is None or task.sentinel is None or not task.is_alive()
        if not gone:
            threading.Thread(target=_outlast, args=(task,), daemon=True).start()
    if gone:  # it was faster
        os._exit(128 + signal.SIGKILL)


def _outlast_parent(parent: int) -> None:
    while os.getppid() == parent:
        clock.pause(LOOK)
    os._exit(128 + signal.SIGKILL)


def _outlast(task: Any) -> None:
    task.join()
    os._exit(128 + signal.SIGKILL)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Unwind an item, so that ``finally`` blocks run; then, or between two chunks, leave the resources and end.

    Asked again, neither is cut short. Between two chunks no exception is raised: the pool would catch and print it.
    """
    global _asked_to_leave
    again, _asked_to_leave = _asked_to_leave, True
    if _closing:
        return
    if not _running:
        _exit()
    if not again:
        sys.exit(128 + signal.SIGTERM)


def _halted() -> bool:
    return _asked_to_leave or _slot.halted


def close() -> None:
    """Leave the resources of this process's worker."""
    global _worker, _closing  # noqa: PLW0603 - a worker process is what this module's state describes
    before, _closing = _closing, True  # first, so that no signal takes the worker from here
    try:
        worker, _worker = _worker, None
        if worker is not None:
            worker.close()
    finally:
        _closing = before


def _close_for_good() -> None:
    """Leave the resources of a process that is about to end, whatever signal comes from now on.

    Where that fails nobody is left to take the exception: it is printed, and the task finds it on the board.
    """
    global _closing  # noqa: PLW0603
    _closing = True
    try:
        close()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    _flush()
    if _slot.row[RESOURCES] != Held.FAILED:
        _slot.row[RESOURCES] = Held.LEFT  # also where no chunk has come this way


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def run_inherited(indices: Sequence[int]) -> bytes:
    """Run items that this worker had when it was forked, and return their pickled report."""
    given = current()
    assert given is not None  # noqa: S101 - only a forked worker is sent positions alone
    items = given.items
    return _run(lambda: [items[index] for index in indices], indices)


def run_chunk(data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk in this worker process and return its pickled report."""
    return _run(functools.partial(load_items, data), indices)


def _run(load: Callable[[], list[Any]], indices: Sequence[int]) -> bytes:
    global _running  # noqa: PLW0603
    _running = True
    try:
        report = _report(load, indices)
        with _slot.with_chunk(indices[0]):
            return pack(report, indices)
    finally:
        _running = False
        signals.restore()
        if _asked_to_leave:  # the pool would catch SystemExit and go on
            _exit()


def _exit() -> None:
    """End this process, having left its resources."""
    _close_for_good()
    os._exit(128 + signal.SIGTERM)


def _report(load: Callable[[], list[Any]], indices: Sequence[int]) -> Report:
    global _worker  # noqa: PLW0603
    report = Report(indices[0], os.getpid())
    try:
        if _worker is None:
            assert _payload is not None  # noqa: S101 - start() ran first
            with _loading.measured():
                call = _receive()
            _worker = Worker(call, _payload.rules, catch=BaseException, slot=_slot, halt=_slot.halt)
    except BaseException as error:  # an error of unpickling must name itself, not break the pool
        if _asked_to_leave:
            raise
        report.failures.append(ItemError(-1, from_user(error), loading=True, verdict="end"))
        return report
    try:
        with _slot.with_chunk(indices[0]):
            items = load()
    except Exception as error:  # noqa: BLE001
        return unread(report, error, len(indices))
    report = _worker.run(items, indices, _halted)
    report.loading, report.loaded = _loading.seconds, _loading.package
    return report


def unread(report: Report, error: Exception, items: int) -> Report:
    """Say that a chunk can't be loaded: it is that one item's failure, or has to come again item by item."""
    if items == 1:
        report.failures.append(ItemError(report.first, from_user(error), loading=True))
        report.values.append(None)
    else:
        report.unreadable = True
    return report


def _receive() -> Call:
    """Load the call and the classes once; classes are kept, so that what comes later by key finds them."""
    assert _payload is not None  # noqa: S101 - start() ran first
    given = current()
    if given is not None and given.call is not None:
        return given.call
    known.update(receive(_payload.classes))
    call: Call = receive(_payload.call)
    if _payload.local:
        gc.freeze()  # nor through shared arguments, which may be millions of objects
    return call


def run_chunk_anywhere(payload: Payload, data: bytes, indices: Sequence[int]) -> bytes:
    """Run a chunk on a backend that can't be told to call :func:`start` in its workers."""
    if os.getpid() == payload.task:  # its workers are in the task's own process, whose signals are not ours
        return pack(_worker_of_thread(payload).run(load_items(data), indices), indices)
    if _payload != payload:
        close()
        start(payload)
    return run_chunk(data, indices)


def _worker_of_thread(payload: Payload) -> Worker:
    if getattr(_local, "payload", None) != payload:
        _local.payload, _local.worker = payload, Worker(receive(payload.call), payload.rules, catch=BaseException)
    return _local.worker  # type: ignore[no-any-return]


def pack(report: Report, indices: Sequence[int]) -> bytes:
    """Pickle a report; where that fails, find the values that can't be sent and report them instead."""
    report.failures = [_sendable(failure) for failure in report.failures]
    report.skip = report.skip and _sendable(report.skip)
    try:
        return _dumps(report, verify=True)
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        return _dumps(_without_culprits(report, indices))


def _dumps(obj: object, *, verify: bool = False) -> bytes:
    """Pickle for the task, by name where this process is a fork of it."""
    given = current()
    return dumps(obj, known, verify=verify) if given is None else dumps_by_name(obj, given, verify=verify)


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


def _sendable(failure: ItemError) -> ItemError:
    """Add the traceback, which pickling drops; replace an exception that would not arrive."""
    return replace(failure, error=_travelling(failure.error), trace=taken_apart(failure.error, _travelling))


def _travelling(error: BaseException) -> BaseException:
    """Return an exception, or where it would not arrive one that says the same."""
    try:
        loads(_dumps(error))
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        said = traceback.TracebackException.from_exception(error)  # str(error) may raise
        return ParallelTaskError(f"{dotted_name(type(error))}: {said} (the exception itself could not be pickled)")
    return error
