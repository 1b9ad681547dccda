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
from contextlib import contextmanager, suppress
from multiprocessing import util
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.inherited import inherited_state
from airflow_joblib.pickling.own_modules import worker_modules
from airflow_joblib.system import isolation, native_threads, warning_filters
from airflow_joblib.system.process_start import forget_safe_path
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.wire.records import ItemError, Payload, Report
from airflow_joblib.wire.shared_pickle import receive
from airflow_joblib.wire.status_board import INDEX, RESOURCES, Held, Slot
from airflow_joblib.worker import signals
from airflow_joblib.worker.end_with_task import Starter, end_with_task
from airflow_joblib.worker.loading import Loading
from airflow_joblib.worker.made import make_worker
from airflow_joblib.worker.rate_limit import OwnCell, rate_limit
from airflow_joblib.worker.reports import pack, task_classes, unread
from airflow_joblib.worker.worker import Worker, from_user, inside_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from airflow_joblib.wire.call import Call

__all__ = [
    "at_work",
    "inherited_items",
    "inside_worker",
    "leave",
    "own",
    "ready_worker",
    "run_chunk",
    "run_chunk_anywhere",
    "run_inherited",
    "start",
]


#: What stays a failure, also where a process comes to its end twice: asked to leave, and as the interpreter ends.
_NOT_LEFT = (Held.FAILED, Held.LOST)


class _State:
    """What this process has as a worker.

    Attributes:
        payload: What every worker of the run is given; None in a process that is no worker.
        worker: Runs the items; None until the first chunk comes.
        slot: Where the task sees which item runs.
        loading: How long it took to load what the items need.
        running: Whether a chunk runs now.
        closing: Whether resources are being left now.
        asked_to_leave: Whether SIGTERM has come.
        interrupt: Ends what an event loop runs; None where there is no loop.
    """

    def __init__(self) -> None:
        self.payload: Payload | None = None
        self.worker: Worker | None = None
        self.slot = Slot()
        self.loading = Loading()
        self.running = False
        self.closing = False
        self.asked_to_leave = False
        self.interrupt: Callable[[], object] | None = None

    def begin(self, payload: Payload) -> None:
        """Make this process a worker of a run."""
        self.payload, self.worker, self.slot, self.loading = payload, None, Slot(payload.status_board), Loading()
        self.closing = False


_state = _State()
_local = threading.local()


def inside_worker() -> bool:
    """Return whether this code runs in a worker of a fan-out, as a process or as a thread."""
    return _state.payload is not None or inside_thread()


def start(payload: Payload, starter: Starter | None = None) -> None:
    """Make this process a worker, before anything of the user is loaded in it."""
    forget_safe_path()
    if payload.local and payload.closed:
        isolation.close_to_others()
    _state.begin(payload)
    util.Finalize(None, leave, exitpriority=100)
    signals.set_up(_leave)
    if payload.local and inherited_state() is None:
        worker_modules.enable()
        multiprocessing.set_start_method(payload.start_method, force=True)  # in the place of loky's
        end_with_task(payload.task, own=starter is None or starter.own)
    if payload.threads is not None:
        native_threads.apply(payload.threads)
    _seed()
    if payload.filters:
        warning_filters.apply(payload.filters)
    if payload.prepare is not None:
        with _state.loading.measured():
            payload.prepare()
    if payload.local and inherited_state() is None:
        gc.freeze()  # modules stay: no collection has to look through them, as loky's first one would for 20 ms


def _seed() -> None:
    """Give a forked worker random numbers of its own: Python sees to its module's after a fork, NumPy does not."""
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Unwind an item, so that ``finally`` blocks run; then, or between two chunks, leave the resources and end.

    Asked again, neither is cut short. Between two chunks no exception is raised: the pool would catch and print it.
    """
    again, _state.asked_to_leave = _state.asked_to_leave, True
    if _state.closing:
        return
    if not _state.running:
        _exit()
    if _state.interrupt is not None:
        _state.interrupt()
        # A step of an item ends by itself in a moment, and with this exception its ``finally`` would not go on. One
        # that is there still when the task asks again holds up the loop.
        if not (again and _state.slot.row[INDEX] > 0):
            return
        _state.interrupt = None  # once
    elif again:
        return
    sys.exit(128 + signal.SIGTERM)


def _halted() -> bool:
    return _state.asked_to_leave or _state.slot.halted


def leave() -> None:
    """Leave the resources of this process's worker, which has nothing more to do; no signal cuts that short.

    Where it fails nobody is left to take the exception: it is printed, and the task finds it on the status board.
    """
    _state.closing = True  # first, so that no signal takes the worker from here
    try:
        worker, _state.worker = _state.worker, None
        if worker is not None:
            worker.close()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    _flush()
    row = _state.slot.row
    row[RESOURCES] = Held.LOST if row[RESOURCES] in _NOT_LEFT else Held.LEFT  # also where no chunk has come this way


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def run_inherited(indices: Sequence[int]) -> bytes:
    """Run items that this worker had when it was forked, and return their pickled report."""
    return _run(functools.partial(inherited_items, indices), indices)


def inherited_items(indices: Sequence[int]) -> Sequence[Any]:
    """Return items that this worker had when it was forked."""
    given = inherited_state()
    assert given is not None  # noqa: S101 - only a forked worker is sent positions alone
    items = given.items
    if isinstance(indices, range):  # in one go: one by one takes a quick item's own time once more
        return items[indices.start : indices.stop]
    return [items[index] for index in indices]


def run_chunk(data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk in this worker process and return its pickled report."""
    return _run(functools.partial(load_items, data), indices)


def _run(load: Callable[[], Sequence[Any]], indices: Sequence[int]) -> bytes:
    with at_work():
        report = _report(load, indices)
        with _state.slot.with_chunk(indices[0]):
            return pack(report, indices)


def _exit() -> None:
    """End this process, having left its resources."""
    leave()
    os._exit(128 + signal.SIGTERM)


@contextmanager
def at_work() -> Iterator[None]:
    """Be at work on items: a signal that ends this process unwinds them first."""
    _state.running = True
    try:
        yield
    finally:
        _state.running = False
        signals.restore()
        if _state.asked_to_leave:  # the pool would catch SystemExit and go on
            _exit()


def ready_worker(report: Report) -> Worker | None:
    """Return this process's worker, which loads the call when it is first needed.

    None where the call can't be loaded, which the report then has: an error of unpickling must name itself, not break
    the pool.
    """
    try:
        if _state.worker is None:
            _state.worker = _made()
    except BaseException as error:
        if _state.asked_to_leave:
            raise
        report.failures.append(ItemError(-1, from_user(error), loading=True, verdict="end"))
        return None
    return _state.worker


def _made() -> Worker:
    assert _state.payload is not None  # noqa: S101 - start() ran first
    with _state.loading.measured():
        call = _receive()
    slot, rules = _state.slot, _state.payload.rules
    rate = rate_limit(rules, slot.next_start if slot.shared else None)
    return make_worker(call, rules, catch=BaseException, slot=slot, halt=slot.halt, rate=rate)


def own() -> _State:
    """Return what this process has as a worker."""
    return _state


def _report(load: Callable[[], Sequence[Any]], indices: Sequence[int]) -> Report:
    report = Report(indices[0], os.getpid())
    worker = ready_worker(report)
    if worker is None:
        return report
    try:
        with _state.slot.with_chunk(indices[0]):
            items = load()
    except Exception as error:  # noqa: BLE001
        return unread(report, error, len(indices), worker)
    report = worker.run(items, indices, _halted)
    report.loading, report.loaded = _state.loading.seconds, _state.loading.package
    return report


def _receive() -> Call:
    """Load the call and the classes once; classes are kept, so that what comes later by key finds them."""
    assert _state.payload is not None  # noqa: S101 - start() ran first
    given = inherited_state()
    if given is not None and given.call is not None:
        return given.call  # type: ignore[no-any-return]
    task_classes.update(receive(_state.payload.classes))
    call: Call = receive(_state.payload.call)
    if _state.payload.local:
        gc.freeze()  # nor through shared arguments, which may be millions of objects
    return call


def run_chunk_anywhere(payload: Payload, data: bytes, indices: Sequence[int]) -> bytes:
    """Run a chunk on a backend that can't be configured to call :func:`start` in its workers."""
    if os.getpid() == payload.task:  # its workers are in the task's own process, whose signals are not ours
        return pack(_worker_of_thread(payload).run(load_items(data), indices), indices)
    if _state.payload != payload:
        leave()
        start(payload)
    return run_chunk(data, indices)


def _worker_of_thread(payload: Payload) -> Worker:
    if getattr(_local, "payload", None) != payload:
        rate = rate_limit(payload.rules, _cell_of_threads(payload.run))
        _local.worker = make_worker(receive(payload.call), payload.rules, catch=BaseException, rate=rate)
        _local.payload = payload
    return _local.worker  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=8)
def _cell_of_threads(run: str) -> OwnCell:  # noqa: ARG001 - those of one run share it
    return OwnCell()
