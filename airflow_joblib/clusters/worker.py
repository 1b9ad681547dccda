"""What runs in a worker of a cluster, which may serve several runs of several tasks, and outlives them.

::

    chunk of a run ──► the run, made at its first chunk ──► a thread for each of the engine's own ──► Report ──► bytes
    the run's end  ──► leave: resources are left by the thread that entered them, and nothing of the run stays

Items run in threads of our own: they can be interrupted without harm to the engine's.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.run_session import RunSession
from airflow_joblib.system import isolation
from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.process_start import forget_safe_path
from airflow_joblib.system.time_limits import GRACE, LEAVING
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.wire.records import ItemError, Report
from airflow_joblib.wire.shared_pickle import receive
from airflow_joblib.worker import reports
from airflow_joblib.worker.made import make_worker
from airflow_joblib.worker.rate_limit import rate_limit
from airflow_joblib.worker.worker import mark_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.records import Payload

__all__ = ["knows", "leave", "run_chunk", "visited"]

_runs: dict[str, _WorkerRun] = {}
#: Runs that are over: a chunk of theirs that comes late finds nobody to do it for.
_over: deque[str] = deque(maxlen=1000)
_lock = threading.RLock()


class RunOverError(BaseException):
    """Raised in an item's thread when the run ends before the item does."""


class _WorkerRun:
    """What one run has in this process."""

    def __init__(self, payload: Payload) -> None:
        forget_safe_path()
        if payload.closed:
            isolation.close_to_others()
        # First: what is loaded may import Airflow, which a local cluster's worker can't as the task has started it.
        self.session: RunSession = RunSession() if payload.prepare is None else payload.prepare()
        self.classes: set[type] = set()
        try:
            if payload.classes:
                self.classes.update(receive(payload.classes))
            reports.task_classes.update(self.classes)
            self.call = receive(payload.call)
        except BaseException:
            self._forget()
            raise
        self.rules = payload.rules
        self.halted = threading.Event()
        self.last_lines: list[tuple[tuple[int, int], list[bytes]]] = []
        self._lanes: dict[int, _Lane] = {}
        self._lock = threading.Lock()

    def lane(self) -> _Lane:
        """Return the thread that does the work of the engine's thread that calls."""
        asking = threading.get_ident()
        with self._lock:
            if asking not in self._lanes:
                self._lanes[asking] = _Lane(self)
            return self._lanes[asking]

    def close(self, *, failed: bool) -> list[str]:
        """Interrupt what runs, leave all resources, and return what went wrong."""
        self.halted.set()
        failures = [text for lane in list(self._lanes.values()) if (text := lane.close(failed=failed))]
        self._forget()
        return failures

    def _forget(self) -> None:
        self.session.leave()
        reports.task_classes.difference_update(self.classes)


class _Lane:
    """A thread that runs chunks, one at a time, with resources of its own."""

    def __init__(self, run: _WorkerRun) -> None:
        self._halted = run.halted
        self._last_lines = run.last_lines
        self._session = run.session
        self._ident = 0
        self._busy = False
        rate = rate_limit(run.rules)
        self._worker = make_worker(run.call, run.rules, catch=BaseException, halt=run.halted.set, rate=rate)
        self._thread = OwnThread("airflow-joblib items", self._begin, RunOverError)

    def _begin(self) -> None:
        mark_thread(inside=True)
        self._ident = threading.get_ident()
        self._session.enter()

    def run(self, data: bytes, indices: Sequence[int]) -> bytes:
        """Run a chunk and return its pickled report."""
        report: bytes = self._thread.submit(functools.partial(self._chunk, data, indices)).result()
        return report

    def _chunk(self, data: bytes, indices: Sequence[int]) -> bytes:
        self._busy = True
        try:
            report = self._report(data, indices)
            report.log_lines = self._session.take_log_lines()
        finally:
            self._busy = False
        return reports.pack(report, indices)

    def _report(self, data: bytes, indices: Sequence[int]) -> Report:
        try:
            items = load_items(data)
        except Exception as error:  # noqa: BLE001 - an error of unpickling must name itself
            return reports.unread(Report(indices[0], os.getpid()), error, len(indices), self._worker)
        return self._worker.run(items, indices, self._must_end)

    def _must_end(self) -> bool:
        return self._halted.is_set() or self._session.full()

    def close(self, *, failed: bool) -> str:
        """Interrupt the item, leave the resources in the thread that entered them, and end the thread."""
        patience = GRACE if failed or self._busy else LEAVING
        if self._busy and not self._worker.interrupt():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._ident), ctypes.py_object(RunOverError))
        try:
            self._thread.submit(self._leave).result(patience)
        except TimeoutError:
            return f"an item or a resource in worker {os.getpid()} has not ended within {patience:g} s"
        except BaseException as error:  # noqa: BLE001 - of the user's resource
            return f"{type(error).__name__} in worker {os.getpid()}: {error}"
        finally:
            self._thread.end()
        return ""

    def _leave(self) -> None:
        try:
            self._worker.close()
        finally:
            self._session.flush()
            if lines := self._session.take_log_lines():  # there is no channel
                self._last_lines.append(((os.getpid(), self._ident), lines))


def run_chunk(run: str, payload: Payload | Callable[[], Payload], data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk and return its pickled report.

    Args:
        run: Which run the chunk is of.
        payload: What the run's workers get once, or what gets it.
        data: The pickled items.
        indices: Their positions in the input.
    """
    try:
        lane = _run_of(run, payload).lane()
    except Exception as error:  # noqa: BLE001 - an error of unpickling must name itself, not break the engine
        report = Report(indices[0], os.getpid(), failures=[ItemError(-1, error, loading=True, verdict="end")])
        return reports.pack(report, indices)
    return lane.run(data, indices)


def _run_of(run: str, payload: Any) -> _WorkerRun:
    with _lock:
        if run in _over:
            raise RuntimeError("The run of this chunk is over.")
        if run not in _runs:
            given: Any = payload() if callable(payload) else payload
            _runs[run] = _WorkerRun(given)
        return _runs[run]


def visited() -> bool:
    """Return whether any run has something in this process."""
    return bool(_runs)


def knows(run: str) -> bool:
    """Return whether a run has something in this process."""
    return run in _runs


def leave(run: str, *, failed: bool = True) -> tuple[list[str], list[tuple[tuple[int, int], list[bytes]]]]:
    """End a run in this process: interrupt its items, leave its resources, forget it.

    Args:
        run: Which run.
        failed: Whether it has failed, or been left by its task: its resources then get less time.

    Returns:
        What went wrong; and what its threads have logged meanwhile, where there is no channel for it.
    """
    with _lock:
        _over.append(run)
        known = _runs.pop(run, None)
    return (known.close(failed=failed), known.last_lines) if known else ([], [])
