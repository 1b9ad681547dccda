"""The run: items become chunks, chunks go to workers, reports come back, results end in order::

    items ─► check ─► chunks ─► Pool ─► reports ─► results
               │                  ▲         │
               └─ nothing ran     └─ next ──┘        a failure ends the run

At most two chunks a worker are under way, so that lazy items are drawn as they are needed.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

import joblib

from airflow_joblib import worker
from airflow_joblib.call import function_name
from airflow_joblib.chunks import ItemChunk, Packer, Sizes, check_items, cut, draw
from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.picklability import check_function, explain_shared, modules_by_value, sent_by_value
from airflow_joblib.picklability.pickler import dumps
from airflow_joblib.options import uses_processes
from airflow_joblib.pool import FewerWorkersError, ProcessPool, ThreadPool
from airflow_joblib.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_joblib.call import Call
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
    workers = run.workers()
    head, rest = draw(check_items(items, item_name), ahead=max(64, 2 * workers))
    if not head:
        return []
    with sent_by_value(modules_by_value([call.function, *call.factories.values()])):
        return run.run(head, rest, workers)


class _Run:
    """One fan-out, from its items to its results."""

    def __init__(self, call: Call, options: Options, defaults: Defaults) -> None:
        self.call = call
        self.options = options
        self.backend = options.backend or defaults.backend
        self.n_jobs = options.n_jobs if options.n_jobs is not None else defaults.n_jobs
        self.packer = Packer(defaults.memory_budget << 20) if uses_processes(self.backend) else None
        self.sizes = Sizes(options.batch_size)
        self.results: dict[int, Sequence[Any]] = {}
        self.done = 0

    def workers(self) -> int:
        """Return how many workers are asked for."""
        if self.backend == "sequential":
            return 1
        if self.backend in {"loky", "multiprocessing", "threading"}:
            return max(1, joblib.cpu_count() + 1 + self.n_jobs) if self.n_jobs < 0 else self.n_jobs
        with joblib.parallel_config(backend=self.backend, **self.options.backend_options):
            return max(1, joblib.effective_n_jobs(self.n_jobs))

    def run(self, head: list[Any], rest: Iterator[Any] | None, workers: int) -> list[Any]:
        """Check, run, and put the results in order."""
        total = len(head) if rest is None else None
        workers = workers if total is None else min(workers, total)
        chunks = list(cut(head, workers, self.options.batch_size, self.packer)) if self.packer is None else []
        if self.packer is not None:
            chunks = self._check(head, workers)
        source = self._source(chunks, rest, len(head))
        began = time.perf_counter()
        with Progress(function_name(self.call.function), total) as progress:
            self._execute(source, workers, progress)
            progress.finish(self.done, workers, time.perf_counter() - began)
        return [value for first in sorted(self.results) for value in self.results[first]]

    def _check(self, items: list[Any], workers: int) -> list[ItemChunk]:
        """Check what goes to every worker and every item that is known, before a worker exists."""
        assert self.packer is not None  # noqa: S101 - called for processes only
        check_function(self.call.function, self.call.factories)
        culprits = self._check_shared()
        chunks = []
        for chunk in cut(items, workers, self.options.batch_size, self.packer):
            self.packer.check(chunk)
            chunks.append(chunk)
        if culprits := [*culprits, *self.packer.culprits]:
            raise NotPicklableError(culprits)
        return chunks

    def _check_shared(self) -> list[Any]:
        shared = self.call.arguments()
        try:
            dumps(shared, verify=True)
        except Exception:  # noqa: BLE001 - pickling runs code of the user
            return explain_shared(shared)
        return []

    def _payload(self) -> bytes:
        """Pickle what every worker gets: the call, and the classes that items refer to by key."""
        assert self.packer is not None  # noqa: S101 - called for processes only
        self.packer.start_sending()
        return dumps((self.call, list(self.packer.classes)))

    def _source(self, chunks: list[ItemChunk], rest: Iterator[Any] | None, first: int) -> Iterator[ItemChunk]:
        """Yield the chunks that are cut already, then those of what is left of a lazy iterator."""
        chunks.reverse()
        while chunks:
            yield chunks.pop()
        while rest is not None:
            items = list(itertools.islice(rest, self.sizes.next()))
            if not items:
                return
            yield ItemChunk(first, items, self.packer)
            first += len(items)

    def _execute(self, source: Iterator[ItemChunk], workers: int, progress: Progress) -> None:
        if workers > 1 and worker.inside_worker():
            log.warning(
                "%s runs its items one after another: it was called by an item of another fan-out, whose workers use "
                "the CPUs already.",
                function_name(self.call.function),
            )
            workers = 1
        if workers == 1:
            self._run_here(source, progress)
            return
        try:
            with self._pool(workers) as pool:
                self._drive(pool, source, progress)
        except FewerWorkersError:
            log.warning(
                "%s runs its items one after another instead of on %d workers: this process may not start others "
                "(it is marked as daemonic).",
                function_name(self.call.function),
                workers,
            )
            self._run_here(source, progress)

    def _pool(self, workers: int) -> Pool:
        options = self.options.backend_options
        if self.packer is None:
            return ThreadPool(self.call, self.backend, workers, options)
        return ProcessPool(self._payload(), self.backend, workers, options)

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
            self._take(pool.next_report(), progress)

    def _run_here(self, source: Iterable[ItemChunk], progress: Progress) -> None:
        """Run every chunk in this thread: for one item, one worker, or a fan-out inside an item."""
        here = worker.Worker(self.call)
        try:
            for chunk in source:
                self._take(here.run(chunk.items, chunk.first), progress)
        finally:
            here.close()

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
