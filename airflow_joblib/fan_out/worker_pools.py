"""The workers of a run: which pool its backend needs, and what each of the workers is given.

::

    threads ─────────────────────────────────► ThreadPool
    a cluster ── connected ── services ──────► EnginePool
    forked ── template ── services ──────────► ForkedPool
    fresh ── pickled call ── services ─┬─────► LokyPool
    a backend registered with joblib ──┘─────► ProcessPool

Each pool's module is imported when a run needs it, which halves what a first run imports beside joblib.
"""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_joblib.options.backends import Backend, backend_named
from airflow_joblib.pickling import Dependencies, dependencies
from airflow_joblib.pickling.inherited import Inherited
from airflow_joblib.pools.base import ThisThread
from airflow_joblib.system import isolation, native_threads, warning_filters
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.pickled_call import PickledCall
from airflow_joblib.wire.records import Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.clusters.engine import Engine
    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.options.options import Options
    from airflow_joblib.pools.base import Pool, Workers
    from airflow_joblib.pools.template import Template
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import Packer
    from airflow_joblib.wire.records import Rules

    MakePool = Callable[[], AbstractContextManager[Workers]]

__all__ = ["WorkerPools"]

#: Options of joblib's for what forked workers inherit.
_SENT_BY_US = ("max_nbytes", "mmap_mode", "temp_folder")


class WorkerPools:
    """Makes the pools of one run.

    Args:
        call: The function with everything but the item.
        options: The decorator's options.
        host: What surrounds the run.
        backend: Name of the backend that is asked for.
        packer: Pickles items; None where workers need no pickle.

    Attributes:
        backend: Name of the backend that the workers are of: fresh ones take the place of forked ones.
        engine: The cluster, as long as the run is connected to one.
        pickled: The call, for workers that can't have it otherwise.
    """

    def __init__(self, call: Call, options: Options, host: Host, backend: str, packer: Packer | None) -> None:
        self.backend = backend
        self.engine: Engine | None = None
        self.pickled = PickledCall(call, options.backend_options, local=self.traits.starts, inherited=self.traits.forks)
        self._name = function_name(call.function)
        self._call = call
        self._options = options
        self._host = host
        self._packer = packer
        self._dependencies: Dependencies

    @property
    def traits(self) -> Backend:
        """What the workers are."""
        return backend_named(self.backend)

    @contextmanager
    def connected(self, workers: int) -> Iterator[Engine]:
        """Connect to the cluster of the backend for the length of the run.

        Raises:
            FewerWorkersError: The run can't have it as long as another run has, which waits for this one.
        """
        from airflow_joblib.clusters.pool import connected

        options = dict(self._options.backend_options)
        conn_id = options.pop("conn_id", None)
        if conn_id is not None:
            options = {**self._host.connection(self.backend, conn_id), **options}
        with dependencies() as self._dependencies, connected(self.backend, options, workers) as self.engine:
            yield self.engine

    def here(self, rules: Rules) -> AbstractContextManager[Workers]:
        """Return the one worker of a run in this process: its own thread, or an event loop in another one."""
        if rules.concurrency:
            from airflow_joblib.pools.async_threads import AsyncThreads

            return AsyncThreads(self._call, 1, rules)
        return ThisThread(self._call, rules)

    @contextmanager
    def opened(self, workers: int, rules: Rules, head: Sequence[Any]) -> Iterator[MakePool]:
        """Give a function that makes a pool, with what its workers need for the length of the run.

        Args:
            workers: How many.
            rules: What they go by.
            head: The first items, which forked workers inherit.
        """
        rules = rules._replace(workers=workers)
        if rules.concurrency and self.traits.threads:
            from airflow_joblib.pools.async_threads import AsyncThreads

            yield lambda: AsyncThreads(self._call, workers, rules)
        elif self._packer is None:
            from airflow_joblib.pools.threads import ThreadPool

            yield lambda: ThreadPool(self._call, self.backend, workers, self._options.backend_options, rules)
        elif self.engine is not None:
            with self._of_cluster(self.engine, self._packer, workers, rules) as make:
                yield make
        else:
            threads = native_threads.for_each_of(workers, self._options.backend_options) if self.traits.starts else None
            with self._template(threads, head) as template:
                if template is not None:
                    opened = self._forked(template, self._packer, workers, rules, threads)
                else:
                    opened = self._fresh(self._packer, workers, rules, threads)
                with opened as make:
                    yield make

    @contextmanager
    def _of_cluster(self, engine: Engine, packer: Packer, workers: int, rules: Rules) -> Iterator[MakePool]:
        from airflow_joblib.clusters.pool import EnginePool

        resources = bool(self._call.factories)
        if not engine.own_workers:  # each slot has its part of a rate
            rules = rules._replace(workers=max(workers, engine.slots))
        engine.check(self._dependencies.needed, self._dependencies.perhaps)
        cluster_services = self._host.cluster_services(engine.name, engine.request_channel)
        with cluster_services as services, self.pickled.sent(packer.classes) as (call, classes):
            closed = engine.local and not isolation.open_to_others()
            payload = Payload(call, classes, services.prepare, rules=rules, closed=closed)
            yield lambda: EnginePool(engine, payload, workers, resources=resources, take=services.take)

    @contextmanager
    def _fresh(
        self, packer: Packer, workers: int, rules: Rules, threads: native_threads.Bound | None
    ) -> Iterator[MakePool]:
        """Give a function that makes a pool of fresh processes, or of what joblib's backend makes."""
        options, local = self._options.backend_options, self.traits.starts
        with self._host.services() as prepare, self.pickled.sent(packer.classes) as (call, classes):
            payload = Payload(call, classes, prepare, os.getpid(), local, rules, threads)
            workers = max(workers, 2)  # for one joblib would start no process
            if not local:
                from airflow_joblib.pools.processes import ProcessPool

                yield _with_one_rate(lambda: ProcessPool(payload, self.backend, workers, options), rules)
                return
            from airflow_joblib.pools.loky import LokyPool

            method = multiprocessing.get_start_method(allow_none=True)
            payload = payload._replace(filters=warning_filters.snapshot(), start_method=method)
            make = self._asynchronous(payload, packer, workers, None) or (lambda: LokyPool(payload, workers, options))
            yield _with_one_rate(make, rules)

    @contextmanager
    def _template(self, threads: native_threads.Bound | None, head: Sequence[Any]) -> Iterator[Template | None]:
        """Fork a template for the length of the run, where its backend may and that is safe."""
        if threads is None or not self.traits.forks:
            yield None
            return
        from airflow_joblib.pools import choice

        self._host.before_fork()
        prepare = partial(native_threads.apply, threads, native_threads.find())
        given = Inherited.of(self._call, [self._call.function, *self._call.factories.values()], head, prepare)
        with choice.template(self._name, self.backend, given) as template:
            self.backend = "loky" if template is None else "multiprocessing"
            yield template

    @contextmanager
    def _forked(
        self, template: Template, packer: Packer, workers: int, rules: Rules, threads: native_threads.Bound | None
    ) -> Iterator[MakePool]:
        """Give a function that makes a pool of workers forked from the template."""
        from airflow_joblib.pools.forked import ForkedPool

        given = packer.shared = template.given
        sent = nullcontext((b"", b"")) if given.call else self.pickled.sent_by_name(given)
        options = _for_forks(self._options.backend_options)
        with self._host.services() as prepare, sent as (call, classes):
            payload = Payload(call, classes, prepare, os.getpid(), local=True, rules=rules, threads=threads)
            forks = lambda: ForkedPool(template, payload, workers, options)  # noqa: E731
            yield self._asynchronous(payload, packer, workers, template) or forks

    def _asynchronous(
        self, payload: Payload, packer: Packer, workers: int, template: Template | None
    ) -> MakePool | None:
        """Return what makes a pool of processes for an asynchronous function; None for a plain one."""
        if not payload.rules.concurrency:
            return None
        from airflow_joblib.pools.async_processes import AsyncProcesses, ServingForks, ServingLoky

        options = self._options.backend_options

        def make(place: str) -> Pool:
            given = payload._replace(connects=place)
            if template is None:
                return ServingLoky(given, workers, options)
            return ServingForks(template, given, workers, _for_forks(options))

        inherited = 0 if template is None else len(template.given.items)
        return lambda: AsyncProcesses(make, workers, payload.rules.concurrency, packer, inherited)


def _with_one_rate(make: Callable[[], Any], rules: Rules) -> MakePool:
    """Return what makes a pool, the next of which goes on with the rate where the last one was."""
    if rules.rate is None:
        return make
    from airflow_joblib.worker.rate_limit import carried_on

    rate, full = rules.rate, 0

    @contextmanager
    def made() -> Iterator[Workers]:
        nonlocal full
        with make() as pool:
            pool.next_start = carried_on(full, rate)
            try:
                yield pool
            finally:
                full = pool.next_start

    return made


def _for_forks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return joblib's options, without those for what is done already where workers are forked."""
    return {name: value for name, value in options.items() if name not in (native_threads.OPTION, *_SENT_BY_US)}
