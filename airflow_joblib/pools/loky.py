"""loky's workers: fresh processes, started with the call, watched, and ended for certain."""

from __future__ import annotations

import functools
import os
import signal
import threading
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.pools import joblib_internals
from airflow_joblib.pools.base import FewerWorkersError
from airflow_joblib.pools.processes import ProcessPool
from airflow_joblib.pools.shutdown import end, have_left
from airflow_joblib.system import clock
from airflow_joblib.system.isolated_start import start, trackers
from airflow_joblib.system.process_start import safe_path
from airflow_joblib.system.time_limits import GRACE, WATCH
from airflow_joblib.worker import process as worker_process
from airflow_joblib.worker.end_with_task import Starter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.wire.records import Chunk, Payload

__all__ = ["LokyPool"]

# joblib keeps one pool of loky workers for the whole process and replaces it when another one is requested.
_one_at_a_time = threading.RLock()
_here = threading.local()


class LokyPool(ProcessPool):
    """loky's workers, which get the call once, when they start.

    Args:
        payload: What they start with.
        n_jobs: How many.
        backend_options: For joblib.
    """

    _by_path = False
    _silent = False

    def __init__(self, payload: Payload, n_jobs: int, backend_options: Mapping[str, Any]) -> None:
        self._isolated = False
        self._late: list[Any] = []
        self._closing: threading.Thread | None = None
        super().__init__(payload, "loky", n_jobs, backend_options)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        with _one_at_a_time, super()._surroundings():
            if getattr(_here, "loky", False):
                why = "the items of another fan-out are drawn from it, which has joblib's loky workers"
                raise FewerWorkersError(why)
            self._settings = {
                "initializer": worker_process.start,
                "initargs": (self._payload, Starter()),
            }
            _here.loky = True
            try:
                yield
            finally:
                _here.loky = False

    def _start(self) -> None:
        trackers.tracker()  # else joblib would start it, with all of the environment for others to see
        super()._start()
        self._isolated = start.isolate_workers(joblib_internals.executor(self._backend))

    def _check_names(self) -> None:
        try:
            joblib_internals.check_loky(self._backend)
        except ParallelTaskError:
            self._end_backend()
            raise

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        return functools.partial(worker_process.run_chunk, chunk.data, chunk.indices)

    def _submit(self, ticket: int, task: Callable[[], Any], chunk: Chunk | None = None) -> None:
        try:
            with nullcontext() if self._isolated else safe_path():
                super()._submit(ticket, task, chunk)
        except BrokenExecutor:
            raise self._lost() from None

    def _finished(self, ticket: int, out: Any = None) -> None:
        # loky fails all that is under way before it kills the workers that are left: who is dead now died by itself.
        if not self._dead and hasattr(out, "exception") and isinstance(out.exception(), BrokenExecutor):
            self._meet_workers()
            self._dead = [process for process in self._processes.values() if process.exitcode is not None]
        super()._finished(ticket, out)

    def _result(self, job: Any, out: object) -> Any:
        try:
            return super()._result(job, out)
        except BrokenExecutor:
            raise self._lost() from None  # not chained: loky's message guesses at a segmentation fault and at memory

    def _look_after_workers(self) -> None:
        """End workers whose item is overdue; loky reports those that are gone."""
        self._watch.look(self._processes, self.under_way)

    def _ask_to_end(self, workers: list[Any], stopping: threading.Thread, failed: type[BaseException] | None) -> None:
        """Ask by loky's own message after a good run, when resources get the time that they take; else by SIGTERM."""
        workers = self._without_late_ones(workers)
        left = failed is None and self._have_left(workers)
        joblib_internals.disown(self._backend)
        # loky would take workers that leave for an accident, and look into it for 0.25 s; but workers with chunks
        # must not find a closed pipe when they send.
        if not self.under_way:
            stopping.start()
            stopping.join(WATCH / 10)
        if not left:
            end(workers, self._status_board)

    def _have_left(self, workers: list[Any]) -> bool:
        """Have each worker leave its resources; return whether all have, each by itself."""
        executor = joblib_internals.executor(self._backend)
        if executor is None:
            return False
        joblib_internals.disown(self._backend, self._late)  # those that hold still get no message
        self._closing = threading.Thread(target=executor.shutdown, daemon=True)
        self._closing.start()
        return have_left(workers, self._status_board)

    def _without_late_ones(self, workers: list[Any]) -> list[Any]:
        """Hold workers that are still starting, with nothing left to do: they would miss what the pool closes."""
        began = self._status_board.started()
        self._late = [process for process in workers if process.pid not in began]
        for process in self._late:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
        for process in [process for process in self._late if process.pid in self._status_board.started()]:
            self._late.remove(process)  # it has begun meanwhile, and may have hold of what others wait for
            os.kill(process.pid, signal.SIGCONT)
        return [process for process in workers if process not in self._late]

    def _wait_for_end(self, workers: list[Any], stopping: threading.Thread) -> None:
        """Wait for the workers' end, and for loky's threads."""
        if stopping.ident is None:
            stopping.start()
        super()._wait_for_end(workers, stopping)
        until = clock.now() + GRACE
        for thread in (stopping, self._closing):
            if thread is not None:
                thread.join(max(0.0, until - clock.now()))
        self._processes = {}
