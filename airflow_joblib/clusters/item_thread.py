"""A thread of a cluster's worker that runs the chunks of one run, and holds the run's resources there.

::

    chunk ─► ItemThread ─► Worker: one chunk, and then the next
          └► AsyncItemThread ─► AsyncWorker: the items of the next chunk join those of the last that still run

Items run in threads of our own: they can be interrupted without harm to the engine's.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.system.daemon_thread import OwnThread
from airflow_joblib.system.time_limits import GRACE, LEAVING
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.wire.records import Report
from airflow_joblib.worker import reports
from airflow_joblib.worker.made import make_worker
from airflow_joblib.worker.rate_limit import rate_limit
from airflow_joblib.worker.time_limit import raise_in
from airflow_joblib.worker.worker import mark_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.clusters.run_session import RunSession
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import Rules

__all__ = ["ItemThread", "RunOverError", "ThreadSettings"]


class RunOverError(BaseException):
    """Raised in an item's thread when the run ends before the item does."""


class ThreadSettings(NamedTuple):
    """What the threads of a run share.

    Attributes:
        call: The function with everything but the item.
        rules: How to go about a chunk.
        session: What surrounds the run's threads.
        halted: Set when no further item may start.
        last_lines: What threads have logged as they left, each with its unique id, where there is no channel for it.
    """

    call: Call
    rules: Rules
    session: RunSession
    halted: threading.Event
    last_lines: list[tuple[tuple[int, int], list[bytes]]]


class ItemThread:
    """Runs chunks, one at a time, with resources of its own."""

    def __init__(self, settings: ThreadSettings) -> None:
        self._settings = settings
        self._session = settings.session
        self._ident = 0
        self._running = False
        self._turn = threading.Lock()
        rate = rate_limit(settings.rules)
        halt = settings.halted.set
        self._worker: Any = make_worker(settings.call, settings.rules, catch=BaseException, halt=halt, rate=rate)
        self._thread = OwnThread("airflow-joblib items", self._begin, RunOverError)

    def _begin(self) -> None:
        mark_thread(inside=True)
        self._ident = threading.get_ident()
        self._session.enter()

    def run(self, data: bytes, indices: Sequence[int], has_room: Callable[[], object]) -> bytes:
        """Run a chunk and return its pickled report.

        Args:
            data: The pickled items.
            indices: Their positions in the input.
            has_room: Called in the thread that calls when another chunk may come, if that is before the end of this.
        """
        del has_room
        report: bytes = self._thread.submit(functools.partial(self._chunk, data, indices)).result()
        return report

    def _chunk(self, data: bytes, indices: Sequence[int]) -> bytes:
        self._running = True
        try:
            return self._packed(self._report(data, indices), indices)
        finally:
            with self._turn:
                self._running = False
                raise_in(self._ident, None)  # else it could end what comes next, and whoever waits for that waits on

    @property
    def _busy(self) -> bool:
        """Whether a chunk is under way."""
        return self._running

    def _packed(self, report: Report, indices: Sequence[int]) -> bytes:
        report.log_lines = self._session.take_log_lines()
        return reports.pack(report, indices)

    def _report(self, data: bytes, indices: Sequence[int]) -> Report:
        try:
            items = load_items(data)
        except Exception as error:  # noqa: BLE001 - an error of unpickling must name itself
            return reports.unread(Report(indices[0], os.getpid()), error, len(indices), self._worker)
        report: Report = self._worker.run(items, indices, self._must_end)
        return report

    def _must_end(self) -> bool:
        return self._settings.halted.is_set() or self._session.full()

    def close(self, *, failed: bool) -> str:
        """Interrupt the items, leave the resources in the thread that entered them, and end the thread."""
        patience = GRACE if failed or self._busy else LEAVING
        if self._busy:
            self._interrupt()
        try:
            self._thread.submit(self._leave).result(patience)
        except TimeoutError:
            return f"an item or a resource in worker {os.getpid()} has not ended within {patience:g} s"
        except BaseException as error:  # noqa: BLE001 - of the user's resource
            return f"{type(error).__name__} in worker {os.getpid()}: {error}"
        finally:
            self._thread.end()
        return ""

    def _interrupt(self) -> None:
        with self._turn:
            if self._running:
                raise_in(self._ident, RunOverError)

    def _leave(self) -> None:
        try:
            self._worker.close()
        finally:
            self._session.flush()
            if lines := self._session.take_log_lines():
                self._settings.last_lines.append(((os.getpid(), self._ident), lines))
