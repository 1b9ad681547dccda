"""The run: from items to results in input order.

::

    items ─► check ─► chunks ─► Pool ─► reports ─► results
               │                  ▲         │
               └─ nothing ran     └─ next ──┘        a failure ends the run

At most two chunks a worker are under way, so that lazy items are drawn as they are needed.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import joblib

from airflow_joblib import worker
from airflow_joblib.call import function_name
from airflow_joblib.chunks import ItemChunk, Packer, Sizes, check_items, cut, draw
from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.options import uses_processes
from airflow_joblib.picklability import check_function, explain_shared, modules_by_value, sent_by_value
from airflow_joblib.picklability.pickler import dumps
from airflow_joblib.pool import FewerWorkersError, ThreadPool
from airflow_joblib.process_pool import ProcessPool
from airflow_joblib.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_joblib.call import Call
    from airflow_joblib.exceptions import Culprit
    from airflow_joblib.options import Defaults, Options
    from airflow_joblib.pool import Pool
    from airflow_joblib.worker import ItemError, Report

__all__ = ["fan_out"]

log = logging.getLogger("airflow_joblib")


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
        WorkerLostError: A worker ended before it gave back its items.
        Exception: The first item's failure, as the item raised it.
    """
    run = _Run(call, options, defaults)
    with defaults.watched() as run.check:
        return run.start(check_items(items, item_name))


class _Run:
    """One fan-out, from its items to its results."""

    def __init__(self, call: Call, options: Options, defaults: Defaults) -> None:
        self.call = call
        self.services = defaults.services
        self.check: Callable[[], None] = lambda: None
        self.options = options
        self.backend = options.backend or defaults.backend
        self.n_jobs = options.n_jobs if options.n_jobs is not None else defaults.n_jobs
        self.packer = Packer(defaults.memory_budget << 20) if uses_processes(self.backend) else None
        self.sizes = Sizes(options.batch_size)
        self.results: dict[int, Sequence[Any]] = {}
        self.done = 0
        self.payload = b""
        self.name = function_name(call.function)

    def start(self, items: Iterable[Any]) -> list[Any]:
        """Draw the first items, and run if there are any."""
        workers = self.workers()
        head, rest = draw(items, ahead=2 * workers)
        if not head:
            return []
        with sent_by_value(modules_by_value([self.call.function, *self.call.factories.values()])):
            return self.run(head, rest, workers)

    def workers(self) -> int:
        """Return how many workers are asked for."""
        if self.backend == "sequential":
            return 1
        if self.backend in {"loky", "multiprocessing", "threading"}:
            return max(1, joblib.cpu_count() + 1 + self.n_jobs) if self.n_jobs < 0 else self.n_jobs
        with joblib.parallel_config(backend=self.backend, **self.options.backend_options):
            return max(1, int(joblib.effective_n_jobs(self.n_jobs)))

    def run(self, head: list[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Check, run, and put the results in order."""
        total = len(head) if rest is None else None
        workers = workers if total is None else self._at_most(total, workers)
        if self.packer is None:
            chunks = list(cut(head, workers, self.options.batch_size, None))
        else:
            chunks = self._check(head, self.packer, workers)
        source = self._source(chunks, rest, len(head))
        began = time.perf_counter()
        with Progress(self.name, total) as progress:
            workers = self._execute(source, workers, progress)
            progress.finish(self.done, workers, time.perf_counter() - began)
        return [value for first in sorted(self.results) for value in self.results[first]]

    def _at_most(self, total: int, workers: int) -> int:
        """Return no more workers than chunks there can be, and say so where their number was asked for."""
        size = 1 if self.options.batch_size == "auto" else self.options.batch_size
        chunks = -(-total // size)
        if chunks < workers and self.n_jobs > 0:
            what = ("item" if size == 1 else f"batch of {size}", "items" if size == 1 else f"batches of {size}")
            why = f"there is only one {what[0]}" if chunks == 1 else f"there are only {chunks} {what[1]}"
            self._warn_fewer(chunks, workers, why)
        return min(chunks, workers)

    def _warn_fewer(self, workers: int, asked: int, why: str) -> None:
        plural = "worker" if workers == 1 else "workers"
        log.warning("%s runs on %d %s instead of %d: %s.", self.name, workers, plural, asked, why)

    def _check(self, items: list[Any], packer: Packer, workers: int) -> list[ItemChunk]:
        """Pickle, and thereby check, the call and every item that is known, before a worker exists."""
        culprits: list[Culprit] = []
        try:
            self.payload = dumps(self.call, verify=True)
        except Exception:  # noqa: BLE001 - pickling runs code of the user
            culprits += self._explain_call()
        chunks = []
        for chunk in cut(items, workers, self.options.batch_size, packer):
            packer.check(chunk)
            chunks.append(chunk)
        if culprits := [*culprits, *packer.culprits]:
            raise NotPicklableError(culprits)
        packer.start_sending()
        return chunks

    def _explain_call(self) -> list[Culprit]:
        try:
            check_function(self.call.function, self.call.factories)
        except NotPicklableError as error:
            found = list(error.culprits)
        else:
            found = []
        try:
            dumps(self.call.arguments(), verify=True)
        except Exception:  # noqa: BLE001
            found += explain_shared(self.call.arguments())
        return found

    def _source(self, chunks: list[ItemChunk], rest: Iterator[Any] | None, first: int) -> Iterator[ItemChunk]:
        """Yield the chunks that are cut already, then those of what is left of a lazy iterator."""
        chunks.reverse()
        while chunks:
            yield chunks.pop()
        while rest is not None:
            items = list(itertools.islice(rest, self._next_size()))
            if not items:
                return
            yield ItemChunk(first, items, self.packer)
            first += len(items)

    def _next_size(self) -> int:
        size = self.sizes.next()
        return size if self.packer is None or self.options.batch_size != "auto" else self.packer.fit(size)

    def _execute(self, source: Iterator[ItemChunk], workers: int, progress: Progress) -> int:
        """Run every chunk and return the number of workers that did."""
        if workers > 1 and worker.inside_worker():
            self._warn_fewer(1, workers, "an item of another fan-out called it, whose workers use the CPUs already")
        elif workers > 1:
            try:
                with self._pool(workers) as pool:
                    self._drive(pool, source, progress)
            except FewerWorkersError as fewer:
                self._warn_fewer(1, workers, str(fewer))
            else:
                return workers
        self._run_here(source, progress)
        return 1

    @contextmanager
    def _pool(self, workers: int) -> Iterator[Pool]:
        """Run a pool of workers, with what worker processes are given for the length of the run."""
        options = self.options.backend_options
        if self.packer is None:
            with ThreadPool(self.call, self.backend, workers, options) as threads:
                yield threads
            return
        # Classes that items refer to by key travel with the call, as both do once for each worker.
        classes = dumps(list(self.packer.classes))
        with self.services() as prepare:
            local = self.backend in {"loky", "multiprocessing"}
            payload = worker.Payload(self.payload, classes, prepare, os.getpid(), local)
            resources = bool(self.call.factories)
            with ProcessPool(payload, self.backend, workers, options, resources=resources) as processes:
                yield processes

    def _drive(self, pool: Pool, source: Iterator[ItemChunk], progress: Progress) -> None:
        """Keep two chunks a worker under way, and take their reports."""
        exhausted = False
        while True:
            while not exhausted and pool.under_way < 2 * pool.n_jobs:
                chunk = next(source, None)
                exhausted = chunk is None
                if chunk is not None:
                    pool.submit(chunk)
            if not pool.under_way:
                return
            self._take(pool.next_report(self.check), progress)

    def _run_here(self, source: Iterable[ItemChunk], progress: Progress) -> None:
        """Run every chunk in this thread: for one item, one worker, or a fan-out inside an item."""
        here = worker.Worker(self.call)
        try:
            for chunk in source:
                self._take(here.run(chunk.items, chunk.first, self._goes_on), progress)
        except BaseException:
            worker.close_after_failure(here)
            raise
        here.close()

    def _goes_on(self) -> bool:
        """Look, between two items, whether the run must end; it does so by an exception."""
        self.check()
        return False

    def _take(self, report: Report, progress: Progress) -> None:
        if report.failure is not None:
            raise _explained(report.failure, report.worker)
        self.results[report.first] = report.values
        self.done += len(report.values)
        self.sizes.learn(len(report.values), report.seconds)
        progress.update(self.done)


class _WorkerTraceback(Exception):  # noqa: N818 - only ever shown as the cause of an item's exception
    """The traceback of an item's exception as it was in the worker."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _explained(failure: ItemError, pid: int) -> BaseException:
    """Return an item's own exception with a note that says which item, and where."""
    error = failure.error
    if failure.resource:
        error.add_note(f"Raised while per_worker {failure.resource!r} was set up in worker {pid}.")
    else:
        error.add_note(f"Raised by item {failure.index} ({failure.item}) on try 1 in worker {pid}.")
    if failure.traceback:
        error.__cause__ = _WorkerTraceback(failure.traceback)
    return error
