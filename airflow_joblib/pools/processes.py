"""Workers that are processes which a backend of joblib's starts: watched, and ended for certain."""

from __future__ import annotations

import functools
import secrets
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.pools import joblib_internals
from airflow_joblib.pools.base import Pool
from airflow_joblib.pools.shutdown import check_resources, end, kill, offspring
from airflow_joblib.pools.watchdog import LostWorkersError, Watchdog
from airflow_joblib.system import isolation
from airflow_joblib.system.process_start import not_daemonic, safe_path
from airflow_joblib.system.time_limits import GRACE, WATCH
from airflow_joblib.wire.records import load_report
from airflow_joblib.wire.status_board import StatusBoard
from airflow_joblib.worker import process as worker_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.wire.records import Chunk, Payload, Report

__all__ = ["ProcessPool"]


class ProcessPool(Pool):
    """The workers of a backend that a user has registered with joblib: each chunk brings what a worker starts with.

    Args:
        payload: What they start with.
        backend: The backend's name.
        n_jobs: How many.
        backend_options: For joblib.
    """

    #: Whether workers must find the status board by its path, as they can't be given a descriptor.
    _by_path = True
    #: Whether resources that were not left are no error, since the backend may end its workers by itself.
    _silent = True

    def __init__(self, payload: Payload, backend: str, n_jobs: int, backend_options: Mapping[str, Any]) -> None:
        self._payload = payload
        self._processes: dict[int, Any] = {}
        self._dead: list[Any] = []
        super().__init__(backend, n_jobs, backend_options)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        with StatusBoard(by_path=self._by_path) as self._status_board, not_daemonic():
            self._watch = Watchdog(self._status_board, self._payload.rules.timeout)
            self._payload = self._payload._replace(
                status_board=self._status_board.path, run=secrets.token_hex(8), closed=not isolation.open_to_others()
            )
            yield

    def _start(self) -> None:
        with safe_path():
            super()._start()
        self._check_names()
        self._meet_workers()

    def _check_names(self) -> None:
        """Check that the workers can be watched and ended."""

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        return functools.partial(worker_process.run_chunk_anywhere, self._payload, chunk.data, chunk.indices)

    @property
    def has_room(self) -> bool:
        """Whether fewer than two chunks a worker are under way, and no worker is about to be ended."""
        return super().has_room and not self._watch.overdue

    @property
    def next_start(self) -> int:
        """How far the workers have used up the rate."""
        return self._status_board.next_start

    @next_start.setter
    def next_start(self, at: int) -> None:
        """Go on from where the workers of another pool were."""
        self._status_board.next_start = at

    def _submit(self, ticket: int, task: Callable[[], Any], chunk: Chunk | None = None) -> None:
        super()._submit(ticket, task, chunk)
        self._meet_workers()

    def _report(self, result: bytes, chunk: Chunk) -> Report:
        return load_report(result, chunk)

    def _meet_workers(self) -> None:
        """Take note of worker processes that are new."""
        self._processes.update({process.pid: process for process in joblib_internals.processes(self._backend)})

    def _look_after_workers(self) -> None:
        """End workers whose item is overdue, and raise if one is gone, which its backend may replace in silence."""
        self._watch.look(self._processes, self.under_way)
        self._dead = [process for process in self._processes.values() if process.exitcode is not None]
        if self._dead:
            raise self._lost()

    def _lost(self) -> LostWorkersError:
        dead = [self._watch.dead(process.pid, process.exitcode) for process in self._dead]
        return LostWorkersError(self._name, dead, self.unfinished)

    def _stop(self, failed: type[BaseException] | None) -> None:
        """End every worker: send it SIGTERM, so that it leaves its resources and runs ``finally``, then kill it."""
        self._meet_workers()
        workers = list(self._processes.values())
        started = offspring(workers)
        stopping = threading.Thread(target=self._end_backend, daemon=True)
        try:
            self._ask_to_end(workers, stopping, failed)
        finally:  # what interrupts this, such as the task's timeout, doesn't wait for resources
            kill((*workers, *started))
            self._wait_for_end(workers, stopping)
        check_resources(self._status_board, failed, silent=self._silent)

    def _ask_to_end(
        self,
        workers: list[Any],
        stopping: threading.Thread,
        failed: type[BaseException] | None,  # noqa: ARG002 - loky's workers get a message instead after a good run
    ) -> None:
        """Have the backend end its workers, in the thread *stopping*, and wait until they have left their resources."""
        stopping.start()
        stopping.join(GRACE)  # a pool whose worker died with a lock would wait for ever
        end(workers, self._status_board)

    def _wait_for_end(self, workers: list[Any], stopping: threading.Thread) -> None:  # noqa: ARG002 - it may wait for ever
        """Wait for the end of workers that were killed."""
        for process in workers:
            process.join(WATCH)

    def _end_backend(self) -> None:
        # What it could complain about, workers that are gone, is what was requested.
        with suppress(Exception):
            self._backend.abort_everything(ensure_ready=False)
        with suppress(Exception):
            self._parallel.__exit__(None, None, None)
