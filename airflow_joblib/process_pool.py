"""Workers that are processes: started with the call, watched, and ended for certain."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import secrets
import signal
import threading
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import joblib

from airflow_joblib import clock, isolation, joblib_internals, worker_process
from airflow_joblib.board import Board
from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.lean import start
from airflow_joblib.lean.batch import Batch
from airflow_joblib.leaving import end, free_locks, have_left, kill, offspring
from airflow_joblib.lost_workers import LostWorkersError, Watch
from airflow_joblib.options import starts_workers
from airflow_joblib.outcomes import ItemError, Report
from airflow_joblib.picklability.pickler import loads
from airflow_joblib.pool import FewerWorkersError, Pool
from airflow_joblib.spawning import hidden_main, not_daemonic, safe_path
from airflow_joblib.time_limits import DRAIN, GRACE, QUICK, WATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.outcomes import Payload
    from airflow_joblib.pool import Chunk

__all__ = ["CLOSE_FAILED", "NOT_LEFT", "ProcessPool", "check_resources", "load_report"]

log = logging.getLogger("airflow_joblib")

# joblib keeps one pool of loky workers for the whole process and replaces it when asked for another one.
_one_at_a_time = threading.RLock()
_here = threading.local()

CLOSE_FAILED = (
    "All items ended well, but a worker did not leave its per_worker resources: leaving one failed, whose traceback is "
    "in the log above, or the worker ended before. What leaving should have done, such as a commit, may not have "
    "happened. Do that in each item."
)
NOT_LEFT = (
    "What per_worker holds was not left in %d of the worker processes, which ended before. What leaving should have "
    "done there, such as a commit, has not happened."
)


class ProcessPool(Pool):
    """Workers that are processes, which get the call once, when they start."""

    def __init__(
        self,
        payload: Payload,
        backend: str,
        n_jobs: int,
        backend_options: Mapping[str, Any],
    ) -> None:
        self._payload = payload
        self._starts = starts_workers(backend)
        self._processes: dict[int, Any] = {}
        self._lean = False
        self._dead: list[Any] = []
        self._late: list[Any] = []
        self._closing: threading.Thread | None = None
        self._ends: float | None = None
        super().__init__(backend, n_jobs, backend_options)
        if self._replaces_workers():
            self._pause = QUICK

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        with Board(by_path=not self._starts) as board, _one_at_a_time, not_daemonic():
            self._look_at(board)
            before = getattr(_here, "loky", False)
            if before and not self._replaces_workers():
                why = "the items of another fan-out are drawn from it, which has joblib's loky workers"
                raise FewerWorkersError(why)
            _here.loky = before or not self._replaces_workers()
            try:
                yield
            finally:
                _here.loky = before

    def _look_at(self, board: Board) -> None:
        self._board = board
        self._watch = Watch(board, self._payload.rules.timeout)
        self._payload = self._payload._replace(
            board=board.path, run=secrets.token_hex(8), closed=not isolation.open_to_others()
        )
        if self._starts:
            self._settings = {
                "initializer": worker_process.start,
                "initargs": (self._payload, worker_process.Starter()),
            }

    def _start(self) -> None:
        if self._starts:  # else joblib would start it, with all of the environment for others to see
            start.tracker()
        with hidden_main() if self._replaces_workers() else nullcontext(), safe_path():
            super()._start()
        self._check_names()
        self._lean = self._name == "loky" and start.lean(joblib_internals.executor(self._backend))
        self._meet_workers()

    def _check_names(self) -> None:
        try:
            if self._name == "loky":
                joblib_internals.check_loky(self._backend)
            elif self._replaces_workers():
                joblib_internals.check_multiprocessing(self._backend)
        except ParallelTaskError:
            self._end_backend()
            raise

    def _batch(self, task: Callable[[], Any]) -> Any:
        if self._lean:
            return Batch(task, pickle.dumps(self._backend.get_nested_backend()))
        return super()._batch(task)

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        if self._starts:
            return functools.partial(worker_process.run_chunk, chunk.data, chunk.indices)
        return functools.partial(worker_process.run_chunk_anywhere, self._payload, chunk.data, chunk.indices)

    @property
    def has_room(self) -> bool:
        """Whether fewer than two chunks a worker are under way, and no worker is about to be ended."""
        return super().has_room and not self._watch.overdue and self._ends is None

    def _submit(self, ticket: int, task: Callable[[], Any], chunk: Chunk | None = None) -> None:
        try:
            with nullcontext() if self._lean or self._replaces_workers() else safe_path():
                super()._submit(ticket, task, chunk)
        except BrokenExecutor:
            raise self._lost() from None
        self._meet_workers()

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

    def _report(self, result: bytes, chunk: Chunk) -> Report:
        return load_report(result, chunk)

    def _meet_workers(self) -> None:
        """Take note of worker processes that are new."""
        self._processes.update({process.pid: process for process in joblib_internals.processes(self._backend)})

    def _replaces_workers(self) -> bool:
        """Tell whether the backend puts a new worker in the place of one that has left, as multiprocessing does."""
        kind = joblib.parallel.BACKENDS.get(self._name)
        return isinstance(kind, type) and issubclass(kind, joblib.parallel.MultiprocessingBackend)

    def _look_after_workers(self) -> None:
        """End workers whose item is overdue, and raise if one is gone.

        loky tells that; a multiprocessing pool replaces a dead worker in silence and waits for its chunk for ever.
        """
        self._watch.look(self._processes, self.under_way)
        if self._replaces_workers():
            self._dead = [process for process in self._processes.values() if process.exitcode is not None]
            if self._dead and self._drained():
                raise self._lost()

    def _drained(self) -> bool:
        """Let the other workers hand back what they have, for a moment, and tell whether they did."""
        now = clock.now()
        if self._ends is None:
            self._board.halt()
            self._ends = now + DRAIN
        return now >= self._ends or self.under_way <= len(self._dead)

    def _lost(self) -> LostWorkersError:
        dead = [self._watch.dead(process.pid, process.exitcode) for process in self._dead]
        return LostWorkersError(self._name, dead, self.unfinished)

    def _stop(self, failed: type[BaseException] | None) -> None:
        """End every worker: ask, so that it leaves its resources and runs ``finally``, then kill.

        After a good run the pool's own message asks them, and resources get the time that they take; else SIGTERM does.
        """
        self._meet_workers()
        workers = list(self._processes.values())
        started = offspring(workers)
        if self._starts and not self._replaces_workers():
            workers = self._without_late_ones(workers)
        queues = joblib_internals.pool(self._backend)
        stopping = threading.Thread(target=self._end_backend, daemon=True)
        # multiprocessing would replace the workers that leave; loky would take it for an accident and look into it for
        # 0.25 s, but its workers must not find a closed pipe when they send.
        first = self._replaces_workers() or not self.under_way
        try:
            left = failed is None and self._starts and self._have_left(workers)
            joblib_internals.disown(self._backend)
            if first:
                stopping.start()
                stopping.join(WATCH / 10)
            if not left:
                end(workers, self._board)
        except BaseException:  # what interrupts this, such as the task's timeout, doesn't wait for resources
            kill(workers)
            raise
        finally:
            kill((*workers, *started, *self._late))
            if stopping.ident is None:
                stopping.start()
            for process in (*workers, *self._late):
                process.join(WATCH)
            self._wait_for_end(stopping, queues)
            if self._closing is not None:
                self._closing.join(GRACE)
            self._processes = {}
        check_resources(self._board, failed, silent=not self._starts)

    def _have_left(self, workers: list[Any]) -> bool:
        """Have each worker leave its resources; return whether all have, each by itself."""
        executor, pool = joblib_internals.executor(self._backend), joblib_internals.pool(self._backend)
        if executor is not None:  # each gets loky's own message, without those that hold still
            joblib_internals.disown(self._backend, self._late)
            self._closing = threading.Thread(target=executor.shutdown, daemon=True)
            self._closing.start()
        elif pool is not None:
            pool.close()
        else:
            return False
        return have_left(workers, self._board)

    def _without_late_ones(self, workers: list[Any]) -> list[Any]:
        """Hold workers that are still starting, with nothing left to do: they would miss what the pool closes."""
        began = self._board.started()
        self._late = [process for process in workers if process.pid not in began]
        for process in self._late:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
        for process in [process for process in self._late if process.pid in self._board.started()]:
            self._late.remove(process)  # it has begun meanwhile, and may have hold of what others wait for
            os.kill(process.pid, signal.SIGCONT)
        return [process for process in workers if process not in self._late]

    def _wait_for_end(self, stopping: threading.Thread, queues: Any) -> None:
        """Wait for the backend to end, which must not wait for what ended workers held, nor for a late replacement."""
        until = clock.now() + GRACE
        while stopping.is_alive() and clock.now() < until:
            for process in joblib_internals.workers_of(queues):
                with suppress(ProcessLookupError, TypeError):  # TypeError: it has not been started
                    os.kill(process.pid, signal.SIGKILL)
            free_locks(queues)
            stopping.join(QUICK)

    def _end_backend(self) -> None:
        # What it could complain about, workers that are gone, is what was asked for.
        with suppress(Exception):
            self._backend.abort_everything(ensure_ready=False)
        with suppress(Exception):
            self._parallel.__exit__(None, None, None)


def check_resources(board: Board, failed: type[BaseException] | None, *, silent: bool = False) -> None:
    """Raise if resources were not left after a good run; after another one, or where they are not ours, log that.

    Args:
        board: What the workers did about them.
        failed: What has ended the run; None for its own good end.
        silent: Whether to raise nothing.

    Raises:
        ParallelTaskError: A worker did not leave what it held.
    """
    number = len(board.not_left())
    if number and failed is None and not silent:
        raise ParallelTaskError(CLOSE_FAILED)
    if number:
        log.warning(NOT_LEFT, number)


def load_report(result: bytes, chunk: Chunk) -> Report:
    """Load a chunk's report; where that fails, say so of its one item, or that the items must be sent one by one."""
    try:
        return loads(result)  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001 - loading runs code of the user
        report = Report(chunk.indices[0], 0, torn=len(chunk.indices) > 1)
        if not report.torn:
            report.values.append(None)
            report.failures.append(ItemError(report.first, error, verdict="fail"))
        return report
