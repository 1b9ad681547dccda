"""What runs in a worker of a cluster, which may serve several runs of several tasks, and outlives them.

::

    chunk of a run ──► the run, made at its first chunk ──► a thread that is free, or a new one ──► Report ──► bytes
    the run's end  ──► leave: resources are left by the thread that entered them, and nothing of the run stays
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.item_thread import ItemThread, RunOverError, ThreadSettings
from airflow_joblib.clusters.run_session import RunSession
from airflow_joblib.system import isolation
from airflow_joblib.system.process_start import forget_safe_path
from airflow_joblib.wire.records import ItemError, Report
from airflow_joblib.wire.shared_pickle import receive
from airflow_joblib.worker import reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_joblib.wire.records import Payload

__all__ = ["knows", "leave", "run_chunk"]

_runs: dict[str, _WorkerRun] = {}
#: Runs that are over: a chunk of theirs that comes late finds nobody to do it for.
_over: deque[str] = deque(maxlen=1000)
#: Runs that have classes here: from before the run is known until it has left.
_with_classes: set[_WorkerRun] = set()
_lock = threading.RLock()
#: Held while a run loads what it is sent, which may last: a class is not whole until then, and another run may have it
#: too. What others do besides goes on.
_loading = threading.RLock()


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
            with _lock:
                _with_classes.add(self)
                reports.task_classes.update(self.classes)
            call = receive(payload.call)
        except BaseException:
            self._forget()
            raise
        self.last_lines: list[tuple[tuple[int, int], list[bytes]]] = []
        self._settings = ThreadSettings(call, payload.rules, self.session, threading.Event(), self.last_lines)
        self._threads: list[ItemThread] = []
        self._free: list[ItemThread] = []
        self._closed = False
        self._lock = threading.Lock()

    def run(self, data: bytes, indices: Sequence[int], has_room: Callable[[], object]) -> bytes:
        """Run a chunk and return its pickled report; what is passed is as for :meth:`ItemThread.run`."""
        with ExitStack() as held:
            thread = held.enter_context(self._free_thread())

            def passed_on() -> None:
                held.close()
                has_room()

            return thread.run(data, indices, passed_on)

    @contextmanager
    def _free_thread(self) -> Iterator[ItemThread]:
        """Take a thread that has room, or a new one, and give it back."""
        with self._lock:
            if self._closed:
                raise RunOverError
            thread = self._free.pop() if self._free else self._new_thread()
        try:
            yield thread
        finally:
            with self._lock:
                self._free.append(thread)

    def _new_thread(self) -> ItemThread:
        thread = _make_thread(self._settings)
        self._threads.append(thread)
        return thread

    def close(self, *, failed: bool) -> list[str]:
        """Interrupt what runs, leave all resources, and return what went wrong."""
        self._settings.halted.set()
        with self._lock:  # later nobody makes another one
            self._closed = True
        failures = [text for thread in self._threads if (text := thread.close(failed=failed))]
        self._forget()
        return failures

    def _forget(self) -> None:
        self.session.leave()
        with _lock:
            _with_classes.discard(self)
            of_others = {kind for run in _with_classes for kind in run.classes}
            reports.task_classes.difference_update(self.classes - of_others)


def _make_thread(settings: ThreadSettings) -> ItemThread:
    if not settings.rules.concurrency:
        return ItemThread(settings)
    from airflow_joblib.clusters.async_item_thread import AsyncItemThread  # late: asyncio takes 20 ms to import

    return AsyncItemThread(settings)


def run_chunk(
    run: str,
    payload: Payload | Callable[[], Payload],
    data: bytes,
    indices: Sequence[int],
    has_room: Callable[[], object] = bool,
) -> bytes:
    """Run a pickled chunk and return its pickled report.

    Args:
        run: Which run the chunk is of.
        payload: What the run's workers get once, or what gets it.
        data: The pickled items.
        indices: Their positions in the input.
        has_room: Called, in this thread, when the worker has room for another chunk, if that is before the end of this.
    """
    try:
        known = _run_of(run, payload)
    except Exception as error:  # noqa: BLE001 - an error of unpickling must name itself, not break the engine
        report = Report(indices[0], os.getpid(), failures=[ItemError(-1, error, loading=True, verdict="end")])
        return reports.pack(report, indices)
    return known.run(data, indices, has_room)


def _run_of(run: str, payload: Any) -> _WorkerRun:
    if (known := _known(run)) is not None:
        return known
    with _loading:
        if (known := _known(run)) is not None:
            return known
        given: Any = payload() if callable(payload) else payload
        made = _WorkerRun(given)
        try:
            with _lock:
                _known(run)
                _runs[run] = made
        except RuntimeError:  # it has ended meanwhile
            made.close(failed=True)
            raise
        return made


def _known(run: str) -> _WorkerRun | None:
    """Return what a run has in this process; None before it has anything.

    Raises:
        RuntimeError: It is over.
    """
    with _lock:
        if run in _over:
            raise RuntimeError("The run of this chunk is over.")
        return _runs.get(run)


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
