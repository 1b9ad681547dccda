"""The loop of a run: hands chunks to workers and takes their reports, until no item is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.pools.watchdog import LostWorkersError
from airflow_joblib.system import clock
from airflow_joblib.system.time_limits import WATCH

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from airflow_joblib.fan_out.progress import Progress
    from airflow_joblib.fan_out.record.live import LiveRecord
    from airflow_joblib.fan_out.scheduler import Scheduler
    from airflow_joblib.fan_out.state import RunState
    from airflow_joblib.pools.base import Workers
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report

__all__ = ["Loop"]


class Loop:
    """Keeps workers busy, and enters their reports wherever they count.

    Args:
        scheduler: Gives the chunks.
        state: What became of the items.
        record: What can be seen of the run.
        progress: Shows how far the run is.
        check: Called now and then; raises when the run must end.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        state: RunState,
        record: LiveRecord,
        progress: Progress,
        check: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._state = state
        self._record = record
        self._progress = progress
        self._check = check

    def run_on_pools(self, make: Callable[[], AbstractContextManager[Workers]], workers: int) -> None:
        """Run every chunk on a pool, and on a new one where a lost worker has broken the pool."""
        while True:
            try:
                with make() as pool:
                    self.run_on(pool, workers)
            except LostWorkersError as lost:
                self._record.lose(lost)
                self._scheduler.put_back(self._state.lose(lost))
            else:
                return

    def run_on(self, pool: Workers, workers: int) -> None:
        """Run every chunk.

        Raises:
            LostWorkersError: A worker ended, and its pool with it.
        """
        self._scheduler.workers = workers
        self._record.start()
        while True:
            while pool.has_room and (chunk := self._scheduler.next()) is not None:
                pool.submit(chunk)
            self._record.recorder.stats.starting = pool.starting
            if not pool.under_way and pool.has_room and self._state.retries.next_due is None:
                return
            try:
                taken = self._wait(pool)
            except LostWorkersError as lost:
                if not lost.goes_on:
                    raise
                self._record.lose(lost)
                self._scheduler.put_back(self._state.lose(lost))
                continue
            if taken is not None:
                self._take(*taken, workers)
                self._progress.update()

    def _wait(self, pool: Workers) -> tuple[ItemChunk, Report] | None:
        """Return the next report; None where a retry is due before one comes, or no chunk is under way."""
        began = clock.now()
        try:
            return self._next_report(pool)
        finally:
            if pool.has_room and self._state.retries.next_due is not None:
                self._record.recorder.stats.wait_for_retry(clock.now() - began, pool.under_way)

    def _next_report(self, pool: Workers) -> tuple[ItemChunk, Report] | None:
        if not pool.has_room:  # a retry that is due would have to wait as well
            return pool.next_report(self._beat)
        until = self._state.retries.next_due
        if pool.under_way:
            return pool.next_report(self._beat, until)
        assert until is not None  # noqa: S101 - as the caller saw
        self._beat()
        clock.pause(max(0.0, min(WATCH, until - clock.now())))
        return None

    def _beat(self) -> None:
        """Do what is due every now and then while workers run."""
        self._check()
        self._state.checkpoint.beat()
        self._state.retry_log.beat()
        self._progress.update()

    def _take(self, chunk: ItemChunk, report: Report, workers: int) -> None:
        """Enter a report."""
        self._record.add_times(report)
        try:
            self._state.take(chunk, report)
        finally:  # which may find a failure that ends the run
            self._record.add(chunk, report)
        self._state.checkpoint.beat(in_this_thread=workers == 1)
        self._scheduler.learn(chunk, report)
