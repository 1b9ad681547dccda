"""Workers, as joblib's backends make them.

``joblib.Parallel`` sets a backend up and takes it down; between the two this module hands it one chunk after another
through the interface that joblib gives to backends (``submit`` with a callback). Driving it so, and not through
``Parallel.__call__``, keeps the number of chunks under way bounded, shows every report as it comes, and works for
``multiprocessing`` too, for which joblib can't return results as they finish.
"""

from __future__ import annotations

import functools
import queue
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self

import joblib
from joblib.parallel import BatchedCalls

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.pools import joblib_internals
from airflow_joblib.system import clock
from airflow_joblib.system.process_start import running_clock
from airflow_joblib.system.time_limits import WATCH
from airflow_joblib.worker.rate_limit import rate_limit
from airflow_joblib.worker.worker import Worker, close_after_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import Chunk, Report, Rules

__all__ = ["FewerWorkersError", "Pool", "ThisThread", "Workers"]


class Workers(Protocol):
    """What runs chunks: a pool, or this thread."""

    @property
    def under_way(self) -> int:
        """Chunks handed over whose report has not been taken."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be handed over now."""
        ...

    @property
    def starting(self) -> float:
        """Seconds that it took to start workers while others may have been at work."""
        ...

    def submit(self, chunk: Any) -> None:
        """Hand a chunk over."""
        ...

    def next_report(self, check: Callable[[], None] = ..., until: float | None = None) -> tuple[Any, Report] | None:
        """Wait for the next chunk to finish; gives the chunk and its report."""
        ...


class ThisThread:
    """The thread of the run as its only worker. A context manager."""

    starting = 0.0

    def __init__(self, call: Call, rules: Rules) -> None:
        self._worker = Worker(call, rules, rate=rate_limit(rules))
        self._chunk: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._worker.close()
        else:
            close_after_failure(self._worker)

    @property
    def under_way(self) -> int:
        """One chunk at most."""
        return int(self._chunk is not None)

    @property
    def has_room(self) -> bool:
        """Whether there is none."""
        return self._chunk is None

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk over; it runs when its report is awaited."""
        self._chunk = chunk

    def next_report(
        self,
        check: Callable[[], None] = lambda: None,
        until: float | None = None,  # noqa: ARG002 - the chunk runs now
    ) -> tuple[Any, Report]:
        """Run the chunk, calling *check* between items."""

        def halted() -> bool:
            check()
            return False

        chunk, self._chunk = self._chunk, None
        return chunk, self._worker.run(chunk.items, chunk.indices, halted)


class FewerWorkersError(Exception):
    """The backend would run everything in one process. Strictly private."""


class Pool:
    """A running backend: hand it chunks, take their reports in the order they finish. A context manager.

    Attributes:
        n_jobs: Its workers.
        ahead: Chunks under way for each of them.
    """

    ahead = 2

    def __init__(self, backend: str, n_jobs: int, backend_options: Mapping[str, Any], **settings: object) -> None:
        self.n_jobs = n_jobs
        self._name = self._known_as = backend
        self._options = backend_options
        self._settings = settings
        self._pause = WATCH
        self._done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._jobs: dict[int, tuple[Any, Any]] = {}
        self._looked = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(running_clock())
            undo.enter_context(self._surroundings())
            self._start()
            self._leave = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._leave:
            self._stop(failed=kind)

    def _surroundings(self) -> AbstractContextManager[object]:
        """Return what holds while the pool exists."""
        return nullcontext()

    def _start(self) -> None:
        try:
            with joblib.parallel_config(backend=self._name, **{**self._options, **self._settings}):
                self._parallel = joblib.Parallel(n_jobs=self.n_jobs)
        except (TypeError, AssertionError) as error:
            raise self._unsuitable(error) from error
        try:
            self._parallel.__enter__()
        except BaseException as error:  # noqa: BLE001 - a signal may come before the pool is known to anybody else
            self._stop(failed=type(error))
            raise self._unsuitable(error) if isinstance(error, TypeError | AssertionError) else error from None
        if self.n_jobs != 1 and isinstance(self._backend, joblib.parallel.SequentialBackend):
            self._parallel.__exit__(None, None, None)
            raise FewerWorkersError("joblib's backend would run everything in one process")

    @functools.cached_property
    def _backend(self) -> Any:
        """What joblib has set up."""
        return joblib_internals.backend_of(self._parallel)

    def _unsuitable(self, error: BaseException) -> InvalidOptionError:
        msg = f"backend_options {sorted(self._options)} don't suit the backend {self._known_as!r}: {error}"
        return InvalidOptionError(msg)

    @property
    def under_way(self) -> int:
        """Chunks handed over whose report has not been taken."""
        return len(self._jobs)

    @property
    def has_room(self) -> bool:
        """Whether fewer chunks are under way than the workers are to have."""
        return len(self._jobs) < self.ahead * self.n_jobs

    @property
    def starting(self) -> float:
        """Seconds that it took to start workers while others may have been at work."""
        return 0.0

    @property
    def unfinished(self) -> list[Any]:
        """The chunks under way."""
        return [chunk for chunk, _ in self._jobs.values() if chunk is not None]

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk to the workers."""
        self._submit(chunk.indices[0], self._task(chunk), chunk)

    def _task(self, chunk: Chunk) -> Callable[[], Any]:
        raise NotImplementedError

    def _submit(self, ticket: int, task: Callable[[], Any], chunk: Chunk | None = None) -> None:
        batch = self._batch(task)
        self._jobs[ticket] = chunk, None
        self._jobs[ticket] = chunk, self._backend.submit(batch, functools.partial(self._finished, ticket))

    def _batch(self, task: Callable[[], Any]) -> Any:
        return BatchedCalls([(task, (), {})], self._backend.get_nested_backend())

    def _finished(self, ticket: int, out: object = None) -> None:
        self._done.put((ticket, out))

    def next_report(
        self, check: Callable[[], None] = lambda: None, until: float | None = None
    ) -> tuple[Any, Report] | None:
        """Wait for the next chunk to finish, and call *check* now and then; gives the chunk and its report.

        None is what it gives where no chunk is under way: a worker that is to be ended may have handed back its last.

        Args:
            check: Called about twice a second; it may raise.
            until: When to give up and return None, by the monotonic clock.
        """
        while True:
            now = clock.now()
            if now - self._looked > self._pause:
                self._looked = now
                check()
                self._look_after_workers()
            if until is not None and now >= until:
                return None
            wait = self._pause if until is None else min(self._pause, until - now)
            try:
                ticket, out = self._done.get(timeout=wait)
            except queue.Empty:
                if not self._jobs:
                    return None
                continue
            result = self._result(self._jobs[ticket][1], out)
            chunk, _ = self._jobs.pop(ticket)
            report = self._report(result, chunk)
            if chunk is not None and report.positions is not None:
                chunk = chunk.of(report.positions)
            return chunk, report

    def _result(self, job: Any, out: object) -> Any:
        if self._backend.supports_retrieve_callback:
            (result,) = self._backend.retrieve_result_callback(out)
        else:
            (result,) = job.get()
        return result

    def _report(self, result: Any, chunk: Chunk) -> Report:  # noqa: ARG002 - processes need it
        return result  # type: ignore[no-any-return]

    def _look_after_workers(self) -> None:
        """See to workers that are gone, or that must be ended."""

    def _stop(self, failed: type[BaseException] | None) -> None:  # noqa: ARG002 - threads need to know
        self._parallel.__exit__(None, None, None)
