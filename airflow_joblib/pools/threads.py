"""Workers that are threads of the task's process: nothing is pickled, and nothing can be ended from outside."""

from __future__ import annotations

import functools
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_joblib.pools.base import Pool
from airflow_joblib.system.thread_context import CallerContext
from airflow_joblib.system.time_limits import GRACE
from airflow_joblib.wire.records import Rules
from airflow_joblib.worker.made import make_worker
from airflow_joblib.worker.rate_limit import OwnCell, rate_limit
from airflow_joblib.worker.worker import close_after_failure, mark_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import Chunk, Report
    from airflow_joblib.worker.worker import Worker

__all__ = ["ThreadPool"]


class ThreadPool(Pool):
    """Workers that are threads of this process."""

    def __init__(
        self,
        call: Call,
        backend: str,
        n_jobs: int,
        backend_options: Mapping[str, Any],
        rules: Rules = Rules(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__(backend, n_jobs, backend_options)
        self._call = call
        self._rules = rules
        self._local = threading.local()
        self._halted = threading.Event()
        self._context = CallerContext()
        self._rate_cell = OwnCell()

    def _task(self, chunk: Chunk) -> Callable[[], Report]:
        return functools.partial(self._context.run, self._run, chunk)

    def _run(self, chunk: Chunk) -> Report:
        mark_thread(inside=True)
        try:
            return self._worker().run(chunk.items, chunk.indices, self._halted.is_set)
        finally:
            mark_thread(inside=False)

    def _worker(self) -> Worker:
        if not hasattr(self._local, "worker"):
            rate = rate_limit(self._rules, self._rate_cell)
            halt = self._halted.set
            self._local.worker = make_worker(self._call, self._rules, catch=BaseException, halt=halt, rate=rate)
        return self._local.worker  # type: ignore[no-any-return]

    def _result(self, job: Any, out: object) -> Any:
        try:
            return super()._result(job, out)
        except BaseException:  # of what runs items, not of one: it has ended, and nobody is to wait for it
            self._jobs = {ticket: each for ticket, each in self._jobs.items() if each[1] is not job}
            raise

    def _stop(self, failed: type[BaseException] | None) -> None:
        """Let items that run come to their end, since a thread can't be stopped, and leave the resources.

        Not when the task itself is being ended (a timeout, Ctrl-C): then nothing waits for an item.
        """
        self._halted.set()
        try:
            if failed is None or issubclass(failed, Exception):
                self._wait_for_all()
                if self._call.factories or self._rules.concurrency:  # resources, or a loop
                    self._close_workers(failed)
        finally:
            super()._stop(failed)

    def _close_workers(self, failed: type[BaseException] | None) -> None:
        """Leave every thread's resources in that thread: each takes one of these calls and waits for the others."""
        barrier = threading.Barrier(self.n_jobs)
        for ticket in range(self.n_jobs):
            self._submit(ticket, functools.partial(self._context.run, self._close_worker, barrier, failed))
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        while self._jobs:
            self.next_report()

    def _close_worker(self, barrier: threading.Barrier, failed: type[BaseException] | None) -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=GRACE)
        if hasattr(self._local, "worker"):
            close = (
                self._local.worker.close
                if failed is None
                else functools.partial(close_after_failure, self._local.worker)
            )
            close()
