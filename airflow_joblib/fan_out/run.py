"""The run: from items to results in input order.

::

    items ─► check ─► chunks ─► workers ─► reports ─► ledger ─► results
               │         ▲                              │
               └─ nothing└── retries, what was not run ─┘     a failure ends the run, or is tolerated
                  ran

At most two chunks a worker are under way, so that lazy items are drawn as they are needed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.pool import EnginePool, connected
from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.fan_out.input_checks import check_items
from airflow_joblib.fan_out.progress import Progress
from airflow_joblib.fan_out.resume import Kept
from airflow_joblib.fan_out.run_stats import Tally
from airflow_joblib.fan_out.scheduler import Feed
from airflow_joblib.fan_out.shared_generators import REPEATS, shared_generators
from airflow_joblib.fan_out.state import Ledger
from airflow_joblib.options.backends import Backend, backend_named
from airflow_joblib.pickling import Dependencies, dependencies, modules_by_value, no_dependencies, sent_by_value
from airflow_joblib.pickling.inherited import Inherited
from airflow_joblib.pools.base import FewerWorkersError, ThisThread
from airflow_joblib.pools.loky import LokyPool
from airflow_joblib.pools.processes import ProcessPool
from airflow_joblib.pools.threads import ThreadPool
from airflow_joblib.pools.watchdog import LostWorkersError
from airflow_joblib.pools.worker_count import Workforce
from airflow_joblib.system import clock, isolation, native_threads, warning_filters
from airflow_joblib.system.time_limits import WATCH
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.chunk import Packer, Sizes, cut, draw
from airflow_joblib.wire.payload import Parcel
from airflow_joblib.wire.records import Payload, Rules
from airflow_joblib.worker.process import inside_worker
from airflow_joblib.worker.worker import first_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.clusters.engine import Engine
    from airflow_joblib.options.options import Defaults, Options
    from airflow_joblib.pools.base import Workers
    from airflow_joblib.pools.forked import ForkedPool
    from airflow_joblib.pools.template import Template
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report

__all__ = ["fan_out"]

log = logging.getLogger("airflow_joblib")

#: Seconds after which a worker hands back what it has of a chunk: what is lost with a worker or a task is no more.
_SLICE = 0.5
#: The same where finished items are kept, which they must be within a second.
_KEPT_SLICE = 0.25
#: Options of joblib's for what forked workers inherit.
_SENT_BY_US = ("max_nbytes", "mmap_mode", "temp_folder")
#: The least of both on a cluster, in units of the work that is worth a dispatch there.
_DISPATCHES_A_SLICE, _DISPATCHES_A_KEPT_SLICE = 4, 2

_THREADS_GO_ON = (
    "%s: item_timeout ends Python code in threads, but not a call into C or the operating system, which goes on until "
    "it returns by itself. A backend of processes can end that as well."
)
_NO_INNER_CHECKPOINT = (
    "%s: keeps no checkpoint, since an item of another fan-out called it. Give that one a checkpoint, which keeps "
    "whole items."
)

_CLUSTERS_GO_ON = (
    "%s: on a cluster item_timeout ends Python code, but not a call into C or the operating system, which goes on "
    "until it returns by itself. The backend loky can end that as well."
)


def fan_out(call: Call, items: object, options: Options, defaults: Defaults, item_name: str) -> list[Any]:
    """Run *call* on every item and return the results in input order.

    Args:
        call: The function with everything but the item.
        items: A sized iterable, or a lazy one.
        options: The decorator's options.
        defaults: What holds where the options name no value.
        item_name: The parameter that takes the item, for messages.

    Raises:
        TypeError: The items can't be taken one by one.
        NotPicklableError: Something can't reach a worker; nothing has run.
        WorkerLostError: An item ended two workers, or the workers ended before they ran any.
        TooManyFailuresError: More items failed than are tolerated.
        Exception: The first item's failure, as the item raised it, where none is tolerated.
    """
    run = _Run(call, options, defaults)
    with defaults.host.watched() as run.check:
        return run.start(check_items(items, item_name))


class _Run:
    """One fan-out, from its items to its results."""

    def __init__(self, call: Call, options: Options, defaults: Defaults) -> None:
        self.call = call
        self.host = defaults.host
        self.engine: Engine | None = None
        self.needs: Dependencies
        self.progress: Progress
        self.feed: Feed
        self.check: Callable[[], None] = lambda: None
        self.options = options
        self.backend = options.backend or defaults.backend
        self.n_jobs = options.n_jobs if options.n_jobs is not None else defaults.n_jobs
        budget = 0 if self.traits.forks else defaults.memory_budget << 20  # what is inherited need not be kept
        self.packer = Packer(budget) if self.traits.processes else None
        self.head: Sequence[Any] = ()
        self.apart = False
        self.name = function_name(call.function)
        self.force = Workforce(self.name, self.n_jobs, self.backend, options)
        forks, local = self.traits.forks, self.traits.starts
        self.parcel = Parcel(call, options.backend_options, local=local, inherited=forks)
        self.tally = Tally(self.name, 0.0)
        if options.checkpoint is not False and inside_worker():
            if first_time(f"checkpoint of {self.name}"):
                log.warning(_NO_INNER_CHECKPOINT, self.name)
            options = self.options = replace(options, checkpoint=False)
        self.kept = Kept(call, options, self.host)
        self.ledger = Ledger(call, options, self.host, self.kept)
        self.rules = self._rules()
        self.sizes = Sizes(options.batch_size, self.rules.seconds)

    def _rules(self) -> Rules:
        """Decide how workers go about a chunk; batches of a size that was asked for are not taken apart."""
        options = self.options
        strict = not options.max_failures and not options.item_retries
        if options.checkpoint is not False:
            seconds = _KEPT_SLICE
        else:
            seconds = _SLICE if options.batch_size == "auto" else float("inf")
        return Rules(strict, seconds, options.item_timeout)

    @property
    def traits(self) -> Backend:
        """What the workers are; another backend takes the place of the one asked for where a fork isn't safe."""
        return backend_named(self.backend)

    def start(self, items: Iterable[Any]) -> list[Any]:
        """Draw the first items, and run if there are any."""
        workers = self.force.asked()
        self._warn_of_timeout(workers)
        head, rest = draw(items, ahead=2 * workers)
        if not head:
            return []
        if workers == 1 < len(head):
            self.force.warn_of_one_cpu()
        with self.kept, sent_by_value(modules_by_value([self.call.function, *self.call.factories.values()])):
            away = self.traits.cluster and not inside_worker()  # which may hold what another run waits for
            results = self._away(head, rest, workers) if away else self._here(head, rest, workers)
            self.kept.clear()
        return results

    def _away(self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Run on a cluster; here, where it can't be connected to as long as a run that waits for this one lasts."""
        try:
            return self._on_cluster(head, rest, workers)
        except FewerWorkersError as fewer:
            if workers > 1:
                self.force.warn_fewer(1, workers, str(fewer))
            return self._here(head, rest, 1)

    def _here(self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Run with workers of this process's own, from which a run on a cluster may draw its items."""
        with no_dependencies():
            return self.run(head, rest, workers)

    def _on_cluster(self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Connect to the cluster of an engine for the length of the run."""
        options = dict(self.options.backend_options)
        conn_id = options.pop("conn_id", None)
        if conn_id is not None:
            options = {**self.host.connection(self.backend, conn_id), **options}
        with dependencies() as self.needs, connected(self.backend, options, workers) as self.engine:
            self._dispatches_take(self.engine.dispatch_seconds)
            return self.run(head, rest, self.force.on_cluster(self.engine.slots))

    def _dispatches_take(self, seconds: float) -> None:
        """Have more work go with a dispatch, and come back with it, where one costs so much."""
        dispatches = _DISPATCHES_A_SLICE if self.options.checkpoint is False else _DISPATCHES_A_KEPT_SLICE
        self.rules = self.rules._replace(seconds=max(self.rules.seconds, dispatches * seconds))
        self.sizes = Sizes(self.options.batch_size, self.rules.seconds, seconds)

    def _warn_of_timeout(self, workers: int) -> None:
        """Say so where the limit of an item can't be held whatever the item does."""
        if self.options.item_timeout is not None and workers > 1:
            if self.packer is None:
                log.warning(_THREADS_GO_ON, self.name)
            elif self.traits.cluster:
                log.warning(_CLUSTERS_GO_ON, self.name)

    def run(self, head: Sequence[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Check, run, and put the results in order."""
        self.head = head
        self.ledger.total = len(head) if rest is None else None
        indices, todo = self.ledger.draw(head)
        if rest is None:
            workers = self._enough(len(todo), workers)
        if self.packer is None:
            chunks = list(cut(indices, todo, max(workers, 1), self.sizes, None))
        else:
            chunks = self._check(indices, todo, self.packer, max(workers, 1))
        self.feed = Feed(self.ledger, self.sizes, self.packer)
        self.feed.start(chunks, rest)
        began = clock.now()
        self.tally = Tally(self.name, began)
        with Progress(self.name, self.ledger) as self.progress:
            workers = self._execute(workers)
            results = self.ledger.finish()
            self._sum_up(workers, clock.now() - began, results)
        return results

    def _enough(self, items: int, asked: int) -> int:
        """Return how many workers have something to do, and see whether one of them must be a process of its own.

        What an earlier try has left may be what ended its workers, and only a process can be ended at a limit.
        """
        left = self.ledger.earlier > 0
        workers = self.force.at_most(items, asked, left=left)
        risky = left or self.options.item_timeout is not None
        self.apart = workers == 1 < asked and risky and self.traits.starts and not inside_worker()
        return workers

    def _sum_up(self, workers: int, wall: float, results: list[Any]) -> None:
        """Say in the log what the run came to."""
        times = self.tally.times(workers, wall)
        size = self.host.size_of(self.call, results)
        xcom = "" if size is None else f"; the XCom has about {size / 1024:,.0f} KiB"
        self.progress.finish(workers, wall, self.tally.sentence(workers, times) + xcom)
        if workers > 1 and self.ledger.undisturbed:  # what waits and restarts took is nobody's to save
            self.tally.warn(self.backend, times)
            self.tally.hint(self.backend, times)

    def _check(self, indices: Sequence[int], items: Sequence[Any], packer: Packer, workers: int) -> list[ItemChunk]:
        """Pickle, and thereby check, the call and every item that is known, before a worker exists."""
        culprits = self.parcel.check()
        chunks = []
        for chunk in cut(indices, items, workers, self.sizes, packer):
            packer.check(chunk)
            chunks.append(chunk)
        if culprits := [*culprits, *packer.culprits]:
            raise NotPicklableError(culprits)
        packer.start_sending()
        return chunks

    def _execute(self, workers: int) -> int:
        """Run every chunk and return the number of workers that did."""
        if workers > 1 and inside_worker():
            if first_time(self.name):  # once a worker, not once an item
                self.force.warn_fewer(
                    1, workers, "an item of another fan-out called it, whose workers use the CPUs already"
                )
        elif workers > 1 or self.apart or (workers and self.engine is not None and self.engine.single):
            try:
                self._on_workers(workers)
            except FewerWorkersError as fewer:
                if workers > 1:
                    self.force.warn_fewer(1, workers, str(fewer))
            else:
                return workers
        with ThisThread(self.call, self.rules) as here:
            self._drive(here, 1)
        return 1

    def _on_workers(self, workers: int) -> None:
        """Run every chunk on a pool, and on another one where a worker of it was lost."""
        if self.packer is not None and workers > 1:
            for path in shared_generators(self.call.function, self.call.arguments()):
                log.warning(REPEATS, self.name, path)
        with self._pools(workers) as make:
            while True:
                try:
                    with make() as pool:
                        self._drive(pool, workers)
                except LostWorkersError as lost:
                    self.feed.put_back(self.ledger.lose(lost))
                else:
                    return

    @contextmanager
    def _pools(self, workers: int) -> Iterator[Callable[[], AbstractContextManager[Workers]]]:
        """Give what makes a pool of workers, with what worker processes are given for the length of the run."""
        options = self.options.backend_options
        if self.packer is None:
            yield lambda: ThreadPool(self.call, self.backend, workers, options, self.rules)
            return
        if self.engine is not None:
            engine, resources = self.engine, bool(self.call.factories)
            engine.check(self.needs.needed, self.needs.perhaps)
            visiting = self.host.visiting(engine.name, engine.asked)
            with visiting as visit, self.parcel.sent(self.packer.classes) as (call, classes):
                closed = engine.local and not isolation.open_to_others()
                payload = Payload(call, classes, visit.prepare, rules=self.rules, closed=closed)
                yield lambda: EnginePool(engine, payload, workers, resources=resources, take=visit.take)
            return
        threads = native_threads.for_each_of(workers, options) if self.traits.starts else None
        with self._template(threads) as template:
            if template is not None:
                with self._forked(template, workers, threads) as make:
                    yield make
                return
        local = self.traits.starts
        with self.host.services() as prepare, self.parcel.sent(self.packer.classes) as (call, classes):
            payload = Payload(call, classes, prepare, os.getpid(), local, self.rules, threads)
            workers = max(workers, 2)  # for one joblib would start no process
            if not local:
                yield lambda: ProcessPool(payload, self.backend, workers, options)
                return
            method = multiprocessing.get_start_method(allow_none=True)
            payload = payload._replace(filters=warning_filters.current(), start_method=method)
            yield lambda: LokyPool(payload, workers, options)

    @contextmanager
    def _template(self, threads: native_threads.Bound | None) -> Iterator[Template | None]:
        """Fork a template for the length of the run, where its backend may and that is safe."""
        if threads is None or not self.traits.forks:
            yield None
            return
        from airflow_joblib.pools import choice  # late: other backends fork nothing

        self.host.before_fork()
        native_threads.find()
        given = Inherited.of(self.call, self.head, partial(native_threads.apply, threads))
        with choice.template(self.name, self.backend, given) as template:
            self.backend = "loky" if template is None else "multiprocessing"
            yield template

    @contextmanager
    def _forked(
        self, template: Template, workers: int, threads: native_threads.Bound | None
    ) -> Iterator[Callable[[], ForkedPool]]:
        """Give what makes a pool of workers that are forked from the template."""
        from airflow_joblib.pools.forked import ForkedPool

        assert self.packer is not None  # noqa: S101 - as the caller saw
        given = self.packer.shared = template.given
        sent = nullcontext((b"", b"")) if given.call else self.parcel.sent_by_name(given)
        options = self.options.backend_options
        # What joblib would do with these is done already.
        options = {name: value for name, value in options.items() if name not in (native_threads.OPTION, *_SENT_BY_US)}
        with self.host.services() as prepare, sent as (call, classes):
            payload = Payload(call, classes, prepare, os.getpid(), local=True, rules=self.rules, threads=threads)
            yield lambda: ForkedPool(template, payload, workers, options)

    def _drive(self, pool: Workers, workers: int) -> None:
        """Keep the workers busy, and take their reports."""
        self.feed.workers = workers
        while True:
            while pool.has_room and (chunk := self.feed.next()) is not None:
                pool.submit(chunk)
            if not pool.under_way and pool.has_room and self.ledger.retries.next_due is None:
                return
            try:
                taken = self._wait(pool)
            except LostWorkersError as lost:
                if not lost.goes_on:
                    raise
                self.feed.put_back(self.ledger.lose(lost))
                continue
            if taken is not None:
                self._take(*taken, workers)
                self.progress.update()

    def _wait(self, pool: Workers) -> tuple[ItemChunk, Report] | None:
        """Wait for the next report; for none, where a retry is due before or nothing is under way."""
        began = clock.now()
        try:
            return self._next_report(pool)
        finally:
            if pool.has_room and self.ledger.retries.next_due is not None:
                self.tally.wait_for_retry(clock.now() - began, pool.under_way)

    def _next_report(self, pool: Workers) -> tuple[ItemChunk, Report] | None:
        if not pool.has_room:  # a retry that is due would have to wait as well
            return pool.next_report(self._beat)
        until = self.ledger.retries.next_due
        if pool.under_way:
            return pool.next_report(self._beat, until)
        assert until is not None  # noqa: S101 - as the caller saw
        self._beat()
        clock.pause(max(0.0, min(WATCH, until - clock.now())))
        return None

    def _beat(self) -> None:
        self.check()
        self.kept.beat()
        self.progress.update()

    def _take(self, chunk: ItemChunk, report: Report, workers: int) -> None:
        """Enter a report."""
        self.tally.add(report)
        self.ledger.take(chunk, report)
        self.kept.beat(here=workers == 1)
        self.feed.learn(chunk, report)
