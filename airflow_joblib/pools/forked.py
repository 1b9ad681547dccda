"""Workers that are forked from a template: watched, replaced where one dies, and ended for certain."""

from __future__ import annotations

import functools
import logging
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.pools import fork_backend
from airflow_joblib.pools.base import Pool
from airflow_joblib.pools.early import CatchUp
from airflow_joblib.pools.executor import WorkerDiedError
from airflow_joblib.pools.shutdown import NOT_LEFT, check_resources, end, have_left, kill, offspring
from airflow_joblib.pools.watchdog import LostWorkersError, Watchdog
from airflow_joblib.system import clock
from airflow_joblib.system.shared_memory import Place
from airflow_joblib.system.time_limits import UNTAKEN, WATCH
from airflow_joblib.wire.records import load_report
from airflow_joblib.wire.shared_pickle import Sent
from airflow_joblib.wire.status_board import StatusBoard
from airflow_joblib.worker import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.pools.executor import Executor, ForkedWorker
    from airflow_joblib.pools.template import Template
    from airflow_joblib.wire.records import Chunk, Payload, Report

__all__ = ["ForkedPool"]

log = logging.getLogger("airflow_joblib")


class ForkedPool(Pool):
    """Workers that are forked from the task as it stood when its template was made.

    Args:
        template: Forks them.
        payload: What they start with.
        n_jobs: How many.
        backend_options: For joblib.
    """

    def __init__(
        self,
        template: Template,
        payload: Payload,
        n_jobs: int,
        backend_options: Mapping[str, Any],
    ) -> None:
        self._template = template
        self._payload = payload
        self._may_have_taken = False
        self._waits_since: float | None = None
        super().__init__(fork_backend.NAME, n_jobs, backend_options)
        self._known_as = "multiprocessing"

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        with StatusBoard() as self._status_board:
            self._watch = Watchdog(self._status_board, self._payload.rules.timeout, drain=False)
            payload = self._payload._replace(status_board=self._status_board.path, run=secrets.token_hex(8))
            start, shared = functools.partial(_start, payload), [self._status_board.path.file]
            if isinstance(payload.call, Sent):  # the template is an early one, which has no call
                start = functools.partial(_catch_up, CatchUp.to_here(), payload)
                shared.append(payload.call.file)
            if isinstance(payload.connects, Place):
                shared.append(payload.connects.file)
            self._settings = {
                "template": self._template,
                "shared": shared,
                "start": start,
                "leave": process.leave,
            }
            yield

    @property
    def _executor(self) -> Executor:
        return self._backend.executor  # type: ignore[no-any-return]

    @property
    def starting(self) -> float:
        """Seconds that it took to fork all workers but the first, one of which may have been at work by then."""
        return self._executor.forking

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be handed over now: as long as workers are forked, no report waits for that."""
        return super().has_room and (self._executor.complete or self._done.empty())

    def _batch(self, task: Callable[[], Any]) -> Any:
        return task

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        if chunk.indices[-1] < len(self._template.given.items):
            return functools.partial(process.run_inherited, chunk.indices)
        return functools.partial(process.run_chunk, chunk.data, chunk.indices)

    def _result(self, job: Any, out: object) -> Any:
        try:
            return super()._result(job, out)
        except WorkerDiedError as died:
            ticket = next(ticket for ticket, (_, future) in self._jobs.items() if future is out)
            chunk, _ = self._jobs.pop(ticket)
            raise self._lost(died.worker, [chunk]) from None

    def _report(self, result: bytes, chunk: Chunk) -> Report:
        return load_report(result, chunk)

    def _lost(self, worker: ForkedWorker, chunks: list[Any]) -> LostWorkersError:
        """Put another worker in the place of one that has ended, and return what was lost with it."""
        executor = self._executor
        executor.forget(worker)
        executor.fill()
        dead = self._watch.dead(worker.pid, worker.exitcode)
        if worker.pid in self._status_board.not_left():
            log.warning(NOT_LEFT, 1)
            self._status_board.forget(worker.pid)
        return LostWorkersError("multiprocessing", [dead], chunks, goes_on=True)

    def _look_after_workers(self) -> None:
        """End workers whose item is overdue, and raise if one has ended between two chunks."""
        executor = self._executor
        executor.send()
        self._watch.look(executor.workers, self.under_way)
        if executor.idle_deaths:
            worker = executor.idle_deaths.pop()
            self._may_have_taken = True
            raise self._lost(worker, [])
        if self._may_have_taken and self._all_wait():
            self._send_again()

    def _all_wait(self) -> bool:
        """Return whether every worker has waited for a while, and nothing is there to take, though not all is done."""
        if not self._executor.waits_in_vain:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = clock.now()
        return self._waits_since is not None and clock.now() - self._waits_since > UNTAKEN

    def _send_again(self) -> None:
        """Send what a worker had taken that was killed before it could report that."""
        self._may_have_taken, self._waits_since = False, None
        self._executor.drop_tasks()
        for ticket, (chunk, _) in list(self._jobs.items()):
            self._submit(ticket, self._task(chunk), chunk)

    def _stop(self, failed: type[BaseException] | None) -> None:
        """End every worker: after a good run each leaves its resources and ends; else it gets SIGTERM, then SIGKILL."""
        executor: Executor | None = self._backend.executor
        workers = [] if executor is None else list(executor.workers.values())
        started = offspring(workers)
        try:
            if failed is None and executor is not None:
                executor.close_tasks()
            if failed is not None or not have_left(workers, self._status_board):
                end(workers, self._status_board)
        except BaseException:  # what interrupts this, such as the task's timeout, doesn't wait for resources
            kill(workers)
            raise
        finally:
            kill((*workers, *started))
            for worker in workers:
                worker.join(WATCH)
            super()._stop(failed)
        check_resources(self._status_board, failed)


def _start(payload: Payload, status_board: int, *connects: int) -> None:
    """Start a worker, which was given a descriptor of the status board, and of where it hands over a connection."""
    place = Place("", *connects)
    process.start(payload._replace(status_board=Place(payload.status_board, status_board), connects=place))


def _catch_up(catch_up: CatchUp, payload: Payload, status_board: int, memory: int, *connects: int) -> None:
    """Start a worker of an early template, which was given a descriptor of the memory too that has the call."""
    catch_up()
    sent = payload.call, payload.classes
    call, classes = (each.by(memory) if isinstance(each, Sent) else each for each in sent)
    _start(payload._replace(call=call, classes=classes), status_board, *connects)
