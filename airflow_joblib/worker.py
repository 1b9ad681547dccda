"""What runs inside a worker.

A worker gets the call once and then chunks of items; it gives back one :class:`Report` a chunk::

    payload ─► start ─► Worker ── enters its resources at its first chunk
    chunk   ─► run_chunk ─► Worker.run ─► Report ─► bytes

Errors come back as values, never as exceptions of the pool: an exception that can't be unpickled would hang a
``multiprocessing`` pool for ever and break a loky pool without naming the item.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import reprlib
import signal
import sys
import threading
import time
import traceback
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import util
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.exceptions import Culprit, NotPicklableError, ParallelTaskError
from airflow_joblib.picklability.pickler import dotted_name, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from airflow_joblib.call import Call

__all__ = [
    "ItemError",
    "Payload",
    "Report",
    "Worker",
    "current_item",
    "inside_worker",
    "run_chunk",
    "run_chunk_anywhere",
    "start",
]

log = logging.getLogger("airflow_joblib")

_PR_SET_PDEATHSIG = 1

_ALONE = "Return plain data, or set batch_size=1."

#: Exit code of a worker whose resources could not be left.
CLOSE_FAILED = 70

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


class Payload(NamedTuple):
    """What every worker process gets, once.

    Attributes:
        call: The pickled call.
        classes: The pickled classes that items refer to by key.
        prepare: What the worker runs first; can be pickled.
        task: Process id of the task.
        local: Whether the workers are the task's children.
    """

    call: bytes
    classes: bytes = b""
    prepare: Callable[[], None] | None = None
    task: int = 0
    local: bool = False


@dataclass(slots=True)
class ItemError:
    """What became of an item, or of a resource's set-up, that raised.

    Attributes:
        index: Position of the item in the input; -1 for a resource.
        error: The exception.
        item: The item, cut short.
        traceback: The worker's traceback as text; empty where the exception still has its own.
        resource: Name of the ``per_worker`` resource whose set-up failed.
    """

    index: int
    error: BaseException
    item: str = ""
    traceback: str = ""
    resource: str = ""


@dataclass(slots=True)
class Report:
    """What became of one chunk.

    Attributes:
        first: Position of the chunk's first item in the input.
        worker: Process id of the worker.
        values: Results of the items that ran, in order; it ends before the first item that failed.
        failure: The failure that ended the chunk, if one did.
        seconds: Time that the chunk took in the worker.
    """

    first: int
    worker: int
    values: list[Any] = field(default_factory=list)
    failure: ItemError | None = None
    seconds: float = 0.0


class Worker:
    """One worker: the call, the resources it holds, and what runs a chunk."""

    def __init__(self, call: Call, *, catch: type[BaseException] = Exception) -> None:
        self._call = call
        self._catch = catch
        self._resources: dict[str, Any] | None = None
        self._refused: ItemError | None = None
        self._stack = ExitStack()

    def run(self, items: Sequence[Any], first: int, halted: Callable[[], bool] = bool) -> Report:
        """Run a chunk, up to the first failure or until *halted* says so."""
        around = getattr(_local, "report", None)  # where an item of another fan-out runs this one
        report = _local.report = Report(first, os.getpid())
        began = time.perf_counter()
        try:
            report.failure = self._enter()
            if report.failure is None:
                self._run_items(items, report, halted)
        finally:
            _local.report = around
        report.seconds = time.perf_counter() - began
        return report

    def _run_items(self, items: Sequence[Any], report: Report, halted: Callable[[], bool]) -> None:
        function = self._call.of_item(self._resources or {})
        keep = report.values.append
        item: Any = None
        try:
            for item in items:
                if halted():
                    return
                keep(function(item))
        except self._catch as error:
            report.failure = ItemError(report.first + len(report.values), _from_item(error), _shown(item))

    def _enter(self) -> ItemError | None:
        """Enter the resources, once."""
        if self._resources is not None or self._refused is not None:
            return self._refused
        entered: dict[str, Any] = {}
        for name, factory in self._call.factories.items():
            try:
                made = factory(**self._call.factory_arguments(factory))
                if isinstance(made, AbstractContextManager):
                    made = self._stack.enter_context(made)
            except Exception as error:  # noqa: BLE001 - handed on as it is
                self._refused = ItemError(-1, _from_item(error), resource=name)
                return self._refused
            entered[name] = made
        self._resources = entered
        return None

    def close(self) -> None:
        """Leave the resources, in the thread that entered them, and without an exception after a failed item too.

        An item's failure is no failure of the resource: it ends within the resource's scope, where others go on.
        """
        self._resources = None
        self._stack.close()


def close_after_failure(worker: Worker) -> None:
    """Leave a worker's resources when the run has failed already: what that raises must not hide why."""
    try:
        worker.close()
    except Exception:
        log.exception("Leaving the per_worker resources failed as well.")


def _shown(item: object) -> str:
    """Return an item as text for a message, cut short."""
    try:
        return _short.repr(item)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the item's own exception
        return f"<{dotted_name(type(item))}>"


def _from_item(error: BaseException) -> BaseException:
    """Drop our own frames from the top of an exception's traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


# What follows is for workers that are processes: state of the process, and bytes in and out.

_worker: Worker | None = None
_payload: Payload | None = None
_known: set[type] = set()
_running = False
_closing = False
_asked_to_leave = False
_local = threading.local()


def inside_worker() -> bool:
    """Tell whether this code runs in a worker of a fan-out, as a process or as a thread."""
    return _payload is not None or getattr(_local, "inside", False)


def current_item() -> int | None:
    """Return the position in the input of the item that this thread runs, None if it runs none."""
    report = getattr(_local, "report", None)
    return None if report is None else report.first + len(report.values)


def mark_thread(*, inside: bool) -> None:
    """Say that this thread is a worker, or no longer one."""
    _local.inside = inside


def start(payload: Payload) -> None:
    """Make this process a worker, before anything of the user is loaded in it."""
    global _payload, _worker
    _payload, _worker = payload, None
    util.Finalize(None, _close_for_good, exitpriority=100)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers
    if payload.local:
        _end_with(payload.task)
    if payload.prepare is not None:
        payload.prepare()


def _end_with(parent: int) -> None:
    """End this process as soon as the task's does, whatever it is doing: nobody waits for its items any more.

    The kernel kills it (Linux, ``prctl(2)``: when the thread ends that started it, which is the one that runs the
    fan-out). Where there is no such call, or a fork server stands between the two, a thread looks.
    """
    task = multiprocessing.parent_process()
    if os.getppid() == parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    elif task is not None and task.is_alive():
        threading.Thread(target=_outlast, args=(task,), daemon=True).start()
    if os.getppid() != parent and task is None:  # it was faster
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


def _asked() -> bool:
    return _asked_to_leave


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

    Where that fails nobody is left to take the exception: it is printed, and the exit code tells the task.
    """
    global _closing  # noqa: PLW0603
    _closing = True
    try:
        close()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        _flush()
        os._exit(CLOSE_FAILED)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def run_chunk(data: bytes, first: int) -> bytes:
    """Run a pickled chunk in this worker process and return its pickled report."""
    global _running  # noqa: PLW0603
    _running = True
    try:
        return _pack(_report(data, first))
    finally:
        if _asked_to_leave:  # the pool would catch SystemExit and go on
            _exit()
        _running = False


def _exit() -> None:
    """End this process, having left its resources."""
    _close_for_good()
    _flush()
    os._exit(128 + signal.SIGTERM)


def _report(data: bytes, first: int) -> Report:
    global _worker  # noqa: PLW0603
    try:
        if _worker is None:
            _worker = Worker(_receive(), catch=BaseException)
        items = loads(data)
    except Exception as error:  # noqa: BLE001 - an error of unpickling must name itself, not break the pool
        return Report(first, os.getpid(), failure=ItemError(first, error))
    return _worker.run(items, first, _asked)


def _receive() -> Call:
    """Load the call and the classes once; classes are kept, so that what comes later by key finds them."""
    assert _payload is not None  # noqa: S101 - start() ran first
    _known.update(loads(_payload.classes))
    return loads(_payload.call)  # type: ignore[no-any-return]


def run_chunk_anywhere(payload: Payload, data: bytes, first: int) -> bytes:
    """Run a chunk on a backend that can't be told to call :func:`start` in its workers."""
    if os.getpid() == payload.task:  # its workers are in the task's own process, whose signals are not ours
        return _pack(_worker_of_thread(payload).run(loads(data), first))
    if _payload != payload:
        close()
        start(payload)
    return run_chunk(data, first)


def _worker_of_thread(payload: Payload) -> Worker:
    if getattr(_local, "payload", None) != payload:
        _local.payload, _local.worker = payload, Worker(loads(payload.call), catch=BaseException)
    return _local.worker  # type: ignore[no-any-return]


def _pack(report: Report) -> bytes:
    """Pickle a report; where that fails, find the value that can't be sent and report it instead."""
    if report.failure is not None:
        report.failure = _sendable(report.failure)
    try:
        return dumps(report, _known, verify=True)
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        return dumps(_cut_at_culprit(report), _known)


def _cut_at_culprit(report: Report) -> Report:
    from airflow_joblib.picklability.culprits import find_culprits

    for offset, value in enumerate(report.values):
        try:
            dumps(value, _known, verify=True)
        except Exception:  # noqa: BLE001
            index = report.first + offset
            report.failure = ItemError(index, NotPicklableError(find_culprits(value, f"result of item {index}")))
            del report.values[offset:]
            return report
    culprit = Culprit(
        f"results from item {report.first} on", "list", "each can be pickled, but not all together.", _ALONE
    )
    report.failure = ItemError(report.first, NotPicklableError([culprit]))
    report.values.clear()
    return report


def _sendable(failure: ItemError) -> ItemError:
    """Add the traceback as text; replace an exception that would not arrive by one that says the same."""
    error = failure.error
    text = "".join(traceback.format_exception(error))
    try:
        loads(dumps(error, _known))
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        said = traceback.TracebackException.from_exception(error)  # str(error) may raise
        error = ParallelTaskError(f"{dotted_name(type(error))}: {said} (the exception itself could not be pickled)")
    return replace(failure, error=error, traceback=text)
