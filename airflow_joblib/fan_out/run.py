"""The run: from items to results in input order.

::

    items ─► check ─► chunks ─► workers ─► reports ─► state ─► results
               │         ▲                              │
               └─ nothing└── retries, what was not run ─┘     a failure ends the run, or is tolerated
                  ran

At most two chunks a worker are under way, so that lazy items are drawn as they are needed.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.fan_out.chunk_size import Sizes
from airflow_joblib.fan_out.items import cut, draw
from airflow_joblib.fan_out.loop import Loop
from airflow_joblib.fan_out.progress import Progress
from airflow_joblib.fan_out.record.fitting import document
from airflow_joblib.fan_out.record.live import LiveRecord
from airflow_joblib.fan_out.record.names import ItemNames
from airflow_joblib.fan_out.record.outcome import Run
from airflow_joblib.fan_out.record.recorder import Recorder
from airflow_joblib.fan_out.resume import RunCheckpoint, without_inner_checkpoint
from airflow_joblib.fan_out.run_stats import RunStats
from airflow_joblib.fan_out.scheduler import Scheduler
from airflow_joblib.fan_out.shared_generators import REPEATS, shared_generators
from airflow_joblib.fan_out.state import RunState
from airflow_joblib.fan_out.worker_pools import WorkerPools
from airflow_joblib.fan_out.worker_rules import rules_for, rules_for_dispatches, warn_of_timeout
from airflow_joblib.options.backends import backend_named
from airflow_joblib.pickling import modules_by_value, no_dependencies, sent_by_value
from airflow_joblib.pools.base import FewerWorkersError
from airflow_joblib.pools.worker_count import WorkerCount
from airflow_joblib.system import clock
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.chunk import Packer
from airflow_joblib.worker.process import inside_worker
from airflow_joblib.worker.worker import first_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.options.options import Defaults, Options
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import ItemChunk

__all__ = ["fan_out", "recorded_fan_out"]

log = logging.getLogger("airflow_joblib")


def fan_out(call: Call, items: Iterable[Any], options: Options, defaults: Defaults, host: Host) -> list[Any]:
    """Run *call* on every item and return the results in input order.

    Args:
        call: The function with everything but the item.
        items: A sized iterable, or a lazy one.
        options: The decorator's options.
        defaults: What holds where the options name no value.
        host: What surrounds the run.

    Raises:
        NotPicklableError: Something can't reach a worker; nothing has run.
        WorkerLostError: An item ended two workers, or the workers ended before they ran any.
        TooManyFailuresError: More items failed than are tolerated.
        Exception: The first item's failure, as the item raised it, where none is tolerated.
    """
    results, _ = _finished(call, items, options, defaults, host)
    return results


def recorded_fan_out(call: Call, items: Iterable[Any], options: Options, defaults: Defaults, host: Host) -> Run[Any]:
    """Do what :func:`fan_out` does, and return the results with the record of the run."""
    results, recorder = _finished(call, items, options, defaults, host)
    return Run(results, recorder.failures(), document([recorder.snapshot()]))


def _finished(
    call: Call, items: Iterable[Any], options: Options, defaults: Defaults, host: Host
) -> tuple[list[Any], Recorder]:
    run = _FanOut(call, options, defaults, host)
    with host.watched() as check:
        results = run.start(items, check)
    host.take_results(call, results)
    return results, run.recorder


class _FanOut:
    """One fan-out, from its items to its results."""

    def __init__(self, call: Call, options: Options, defaults: Defaults, host: Host) -> None:
        self.name = function_name(call.function)
        self.call = call = replace(call, retry_on=options.item_retry_on)
        self.host = host
        self.shown = defaults.record
        self.options = options = without_inner_checkpoint(options, self.name)
        backend = options.backend or defaults.backend
        traits = backend_named(backend)
        budget = 0 if traits.forks else defaults.memory_budget << 20  # what is inherited need not be kept
        self.packer = Packer(budget, call.over) if traits.processes else None
        self.pools = WorkerPools(call, options, host, backend, self.packer)
        n_jobs = options.n_jobs if options.n_jobs is not None else defaults.n_jobs
        self.worker_count = WorkerCount(self.name, n_jobs, backend, options)
        self.needs_process = False
        self.checkpoint = RunCheckpoint(call, options, host, defaults.checkpoint_days)
        self.state = RunState(call, options, host, self.checkpoint)
        self.recorder: Recorder
        self.rules = rules_for(options, asynchronous=call.asynchronous)
        together = self.rules.concurrency
        self.sizes = Sizes(options.batch_size, self.rules.seconds, rate=options.rate_limit, together=together)

    def start(self, items: Iterable[Any], check: Callable[[], None]) -> list[Any]:
        """Draw the first items, and run if there are any.

        Args:
            items: All items.
            check: Called now and then; raises when the run must end.
        """
        try:
            return self._start(items, check)
        except Exception:
            if not hasattr(self, "recorder"):  # it ends before its first item, and has a record all the same
                with self._recorded(()):
                    raise
            raise

    def _start(self, items: Iterable[Any], check: Callable[[], None]) -> list[Any]:
        workers = self.worker_count.requested()
        if workers > 1:
            warn_of_timeout(self.name, self.options, self.pools.backend)
        head, rest = draw(items, ahead=2 * workers)
        if not head:
            self.state.total = 0
            with self._recorded(()):
                self.recorder.backend = "sequential"
                return []
        if workers == 1 < len(head):
            self.worker_count.warn_of_one_cpu()
        by_value = modules_by_value([self.call.function, *self.call.factories.values(), *self.call.retry_on])
        with self.checkpoint, sent_by_value(by_value):
            remote = self.pools.traits.cluster and not inside_worker()  # which may hold what another run waits for
            results = (self._run_on_cluster if remote else self._run_here)(head, rest, workers, check)
            self.checkpoint.end(self.state.failed)
        return results

    def _run_on_cluster(
        self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int, check: Callable[[], None]
    ) -> list[Any]:
        """Run on a cluster; in this process where another run, which waits for this one, has the cluster."""
        try:
            with self.pools.connected(workers) as engine:
                self.rules = rules_for_dispatches(self.rules, self.options, engine.dispatch_seconds)
                size, rate = self.options.batch_size, self.options.rate_limit
                self.sizes = Sizes(size, self.rules.seconds, engine.dispatch_seconds, rate)
                return self._run(head, rest, self.worker_count.on_cluster(engine.slots), check)
        except FewerWorkersError as fewer:
            if workers > 1:
                self.worker_count.warn_fewer(1, workers, str(fewer))
            return self._run_here(head, rest, 1, check)

    def _run_here(
        self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int, check: Callable[[], None]
    ) -> list[Any]:
        """Run with workers of this machine. A run on a cluster may be drawing its items from this one."""
        with no_dependencies():
            return self._run(head, rest, workers, check)

    def _run(
        self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int, check: Callable[[], None]
    ) -> list[Any]:
        """Check, run, and put the results in order."""
        self.state.total = len(head) if rest is None else None
        indices, todo = self.state.draw(head)
        if rest is None:
            workers = self._enough(len(todo), workers)
        if self.packer is None:
            chunks = list(cut(indices, todo, max(workers, 1), self.sizes, None))
        else:
            chunks = self._check(indices, todo, self.packer, max(workers, 1))
        scheduler = Scheduler(self.state, self.sizes, self.packer)
        scheduler.start(chunks, rest)
        began = clock.now()
        with (
            self._recorded(head if rest is None else None, workers) as record,
            Progress(self.name, self.state) as progress,
        ):
            loop = Loop(scheduler, self.state, record, progress, check)
            with self.state.retry_log:
                workers = self._execute(loop, head, workers)
            results = self.state.finish()
            self._sum_up(record.recorder.stats, progress, workers, clock.now() - began, results)
        return results

    def _recorded(self, items: Sequence[Any] | None, workers: int = 0) -> LiveRecord:
        """Return the record of this run, which begins now."""
        names = ItemNames(self.state.failures.shown, items)
        stats = RunStats(self.name, clock.now(), self.options.rate_limit)
        self.recorder = Recorder(self.state, stats, names, workers, self.pools.backend)
        self.recorder.local = not self.pools.traits.cluster
        return LiveRecord(self.recorder, self.host, shown=self.shown)

    def _enough(self, items: int, requested: int) -> int:
        """Return how many workers have something to do, and see whether one of them must be a process of its own.

        What an earlier try has left may be what ended its workers, and only a process can be ended at a limit.
        """
        left = self.state.earlier > 0
        workers = self.worker_count.at_most(items, requested, left=left)
        risky = left or self.options.item_timeout is not None
        self.needs_process = workers == 1 < requested and risky and self.pools.traits.starts and not inside_worker()
        return workers

    def _check(self, indices: Sequence[int], items: Sequence[Any], packer: Packer, workers: int) -> list[ItemChunk]:
        """Pickle, and thereby check, the call and every item that is known, before a worker exists."""
        culprits = self.pools.pickled.check()
        chunks = []
        for chunk in cut(indices, items, workers, self.sizes, packer):
            packer.check(chunk)
            chunks.append(chunk)
        if culprits := [*culprits, *packer.culprits]:
            raise NotPicklableError(culprits)
        packer.start_sending()
        return chunks

    def _execute(self, loop: Loop, head: Sequence[Any], workers: int) -> int:
        """Run every chunk and return the number of workers that did."""
        engine = self.pools.engine
        if workers > 1 and inside_worker():
            if first_time(self.name):  # once a worker, not once an item
                self.worker_count.warn_fewer(
                    1, workers, "an item of another fan-out called it, whose workers use the CPUs already"
                )
        elif workers > 1 or self.needs_process or (workers and engine is not None and engine.single):
            try:
                self._run_on_workers(loop, head, workers)
            except FewerWorkersError as fewer:
                if workers > 1:
                    self.worker_count.warn_fewer(1, workers, str(fewer))
            else:
                return workers
        self.recorder.backend, self.recorder.workers, self.recorder.local = "sequential", 1, True
        with self.pools.here(self.rules) as this_thread:
            loop.run_on(this_thread, 1)
        return 1

    def _run_on_workers(self, loop: Loop, head: Sequence[Any], workers: int) -> None:
        """Run every chunk on workers."""
        if self.packer is not None and workers > 1:
            for path in shared_generators(self.call.function, self.call.arguments()):
                log.warning(REPEATS, self.name, path)
        with self.pools.opened(workers, self.rules, head) as make:
            self.recorder.backend, self.recorder.workers = self.pools.backend, workers
            loop.run_on_pools(make, workers)

    def _sum_up(self, stats: RunStats, progress: Progress, workers: int, wall: float, results: list[Any]) -> None:
        """Log what the run came to."""
        times = stats.times(workers, wall)
        progress.finish(workers, wall, times)
        stats.log_breakdown(workers, times, self.host.size_of(self.call, results))
        if workers > 1 and self.state.undisturbed:  # what waits and restarts took is nobody's to save
            stats.warn(self.pools.backend, times)
