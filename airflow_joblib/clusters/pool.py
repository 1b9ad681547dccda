"""Workers that are somewhere else: in a cluster of Dask, Ray or Spark."""

from __future__ import annotations

import copy
import functools
import logging
import secrets
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from joblib.parallel import BatchedCalls, ParallelBackendBase

from airflow_joblib.exceptions import ClusterError, ParallelTaskError
from airflow_joblib.pools.base import Pool
from airflow_joblib.pools.shutdown import CLOSE_FAILED
from airflow_joblib.pools.watchdog import Dead, LostWorkersError
from airflow_joblib.system.process_start import hidden_main, not_daemonic
from airflow_joblib.wire.records import load_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_joblib.clusters.engine import Engine
    from airflow_joblib.wire.records import Chunk, Payload, Report

__all__ = ["EnginePool", "connected"]

log = logging.getLogger("airflow_joblib")


@contextmanager
def connected(backend: str, options: Mapping[str, Any], n_jobs: int) -> Iterator[Engine]:
    """Connect to the cluster that *options* name, or start a local one, and give it up at the end.

    Raises:
        ClusterError: It can't be used; nothing has run.
        InvalidOptionError: An option is not known.
    """
    from airflow_joblib import clusters  # late: each brings a package as large as all else

    with ExitStack() as stack:
        stack.enter_context(not_daemonic())  # a local cluster's processes are children
        stack.enter_context(hidden_main())
        yield stack.enter_context(clusters.connect(backend, options, n_jobs))


class EnginePool(Pool):
    """The workers of a cluster, which get the payload once, by the engine's own means.

    Args:
        engine: The cluster.
        payload: What every worker gets.
        n_jobs: Items to run at a time, at most.
        resources: Whether workers hold something until the run ends.
        take: Takes what a worker's thread has logged, with that thread's unique id.
    """

    def __init__(
        self,
        engine: Engine,
        payload: Payload,
        n_jobs: int,
        *,
        resources: bool = False,
        take: Callable[[Any, Sequence[bytes]], None],
    ) -> None:
        self._engine = engine
        self._run = secrets.token_hex(16)
        self._resources = resources
        self._take = take
        self._nested: Any = None
        super().__init__(engine.backend(self._run, payload), n_jobs, {})
        self.ahead = engine.chunks_ahead(payload.rules)

    def _start(self) -> None:
        super()._start()
        self._nested = self._backend.get_nested_backend()
        self._backend.start_call()  # what joblib's Parallel does when it is called

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk to the cluster."""
        function, args = self._engine.task(chunk.data, chunk.indices)
        ticket = chunk.indices[0]
        batch = BatchedCalls([(function, args, {})], self._nested)
        old = type(self._backend).submit is ParallelBackendBase.submit  # which only warns and passes on
        submit = self._backend.apply_async if old else self._backend.submit
        self._jobs[ticket] = chunk, None
        self._jobs[ticket] = chunk, submit(batch, functools.partial(self._finished, ticket))

    def _result(self, job: Any, out: Any) -> Any:
        given: Any
        try:
            given = out if self._backend.supports_retrieve_callback else job.get()
            if not isinstance(given, list | BaseException):  # joblib's wrapper of an error, whose copy is the error
                given = copy.copy(given)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, no item did
            given = error
        if isinstance(given, BaseException):  # also what joblib gives for a chunk that the engine has cancelled
            self._check_cluster()
            raise self._lost(self._engine.reason(given), job) from given
        (result,) = given
        return result

    def _report(self, result: bytes, chunk: Chunk) -> Report:
        report = load_report(result, chunk)
        if report.log_lines:
            self._take((report.worker, report.thread), report.log_lines)
            report.log_lines = []
        return report

    def _check_cluster(self) -> None:
        if why := self._engine.why_gone():
            msg = f"The {self._engine.name} cluster at {self._engine.place} is lost, and with it what ran there: {why}"
            raise ClusterError(msg)

    def _look_after_workers(self) -> None:
        self._check_cluster()
        for _, job in tuple(self._jobs.values()):
            if job is not None and (why := self._engine.why_lost(job)):
                raise self._lost(why)

    def _lost(self, why: str, job: Any = None) -> LostWorkersError:
        log.warning("A worker of the %s cluster did not give back its items: %s", self._engine.name, why)
        if job is None or not self._engine.keeps_others:
            return LostWorkersError(self._engine.name, [_dead(self.unfinished)], self.unfinished)
        (ticket,) = [ticket for ticket, (_, other) in self._jobs.items() if other is job]
        lost = [self._jobs.pop(ticket)[0]]
        return LostWorkersError(self._engine.name, [_dead(lost)], lost, goes_on=True)

    def _stop(self, failed: type[BaseException] | None) -> None:
        """Cancel what is queued, stop what runs, have resources left, and let go of the workers."""
        failures: list[str] = []
        try:
            failures = list(self._engine.leave(resources=self._resources, failed=failed is not None))
        except Exception as error:
            if failed is None:
                msg = f"All items ended well, but the cluster at {self._engine.place} could not be left."
                raise ClusterError(msg) from error
        finally:
            self._let_go()
        for number, lines in self._engine.parting:
            self._take(number, lines)
        for text in failures:
            log.error("Leaving the run failed on the cluster: %s", text)
        if failures and failed is None and self._resources:
            raise ParallelTaskError(CLOSE_FAILED)

    def _let_go(self) -> None:
        # What joblib could complain about, items without a result, is what was requested.
        for end in (
            lambda: self._backend.abort_everything(ensure_ready=False),
            self._backend.stop_call,
            lambda: self._parallel.__exit__(None, None, None),
        ):
            with suppress(Exception):
                end()


def _dead(unfinished: Sequence[Chunk]) -> Dead:
    """Return what is known of a worker that has ended: what it ran only if nothing else can have been it."""
    if len(unfinished) != 1:
        return Dead(0, None)
    return Dead(0, None, unfinished[0].indices[0], whole=True)
