"""Workers, as joblib's backends make them.

``joblib.Parallel`` sets a backend up and takes it down; between the two this module hands it one chunk after another
through the interface that joblib gives to backends (``submit`` with a callback). Driving it so, and not through
``Parallel.__call__``, keeps the number of chunks under way bounded, shows every report as it comes, and works for
``multiprocessing`` too, for which joblib can't return results as they finish.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

import joblib
from joblib.parallel import BatchedCalls

from airflow_joblib import worker
from airflow_joblib.exceptions import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_joblib.call import Call
    from airflow_joblib.worker import Report

__all__ = ["GRACE", "WATCH", "Chunk", "FewerWorkersError", "Pool", "ThreadPool"]

#: Seconds that workers get to leave what they hold, before they are killed.
GRACE = 3.0
#: Seconds between two looks at whether the workers still live.
WATCH = 0.5


class Chunk(Protocol):
    """Items of one dispatch: *first* is the position of the first, *data* their pickle for a worker process."""

    first: int

    @property
    def items(self) -> Sequence[Any]:
        """The items."""
        ...

    @property
    def data(self) -> bytes:
        """The pickled items."""
        ...


class FewerWorkersError(Exception):
    """The backend would run everything in one process. Strictly private."""


class Pool:
    """A running backend: hand it chunks, take their reports in the order they finish. A context manager."""

    def __init__(self, backend: str, n_jobs: int, backend_options: Mapping[str, Any], **settings: object) -> None:
        self.n_jobs = n_jobs
        self._name = backend
        self._options = backend_options
        self._settings = settings
        self._done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._jobs: dict[int, Any] = {}
        self._looked = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
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

    @property
    def _backend(self) -> Any:
        """What joblib set up, driven through its documented interface."""
        return self._parallel._backend  # noqa: SLF001

    def _unsuitable(self, error: BaseException) -> InvalidOptionError:
        msg = f"backend_options {sorted(self._options)} don't suit the backend {self._name!r}: {error}"
        return InvalidOptionError(msg)

    @property
    def under_way(self) -> int:
        """Chunks handed over whose report has not been taken."""
        return len(self._jobs)

    def submit(self, chunk: Chunk) -> None:
        """Hand a chunk to the workers."""
        self._submit(chunk.first, self._task(chunk))

    def _task(self, chunk: Chunk) -> Callable[[], Any]:
        raise NotImplementedError

    def _submit(self, ticket: int, task: Callable[[], Any]) -> None:
        batch = BatchedCalls([(task, (), {})], self._backend.get_nested_backend())
        self._jobs[ticket] = None
        self._jobs[ticket] = self._backend.submit(batch, functools.partial(self._finished, ticket))

    def _finished(self, ticket: int, out: object = None) -> None:
        self._done.put((ticket, out))

    def next_report(self, check: Callable[[], None] = lambda: None) -> Report:
        """Wait for the next chunk to finish, and call *check* now and then.

        Raises:
            WorkerLostError: A worker ended before it gave back its items.
        """
        while True:
            if time.monotonic() - self._looked > WATCH:
                self._looked = time.monotonic()
                check()
                self._check_alive()
            try:
                ticket, out = self._done.get(timeout=WATCH)
            except queue.Empty:
                continue
            return self._report(self._result(self._jobs.pop(ticket), out))

    def _result(self, job: Any, out: object) -> Any:
        if self._backend.supports_retrieve_callback:
            (result,) = self._backend.retrieve_result_callback(out)
        else:
            (result,) = job.get()
        return result

    def _report(self, result: Any) -> Report:
        return result  # type: ignore[no-any-return]

    def _check_alive(self) -> None:
        """Raise if the chunks under way can't finish any more."""

    def _stop(self, failed: type[BaseException] | None) -> None:  # noqa: ARG002 - threads need to know
        self._parallel.__exit__(None, None, None)


class ThreadPool(Pool):
    """Workers that are threads of this process."""

    def __init__(self, call: Call, backend: str, n_jobs: int, backend_options: Mapping[str, Any]) -> None:
        super().__init__(backend, n_jobs, backend_options)
        self._call = call
        self._local = threading.local()
        self._halted = threading.Event()

    def _task(self, chunk: Chunk) -> Callable[[], Report]:
        return functools.partial(self._run, chunk)

    def _run(self, chunk: Chunk) -> Report:
        worker.mark_thread(inside=True)
        try:
            return self._worker().run(chunk.items, chunk.first, self._halted.is_set)
        finally:
            worker.mark_thread(inside=False)

    def _worker(self) -> worker.Worker:
        if not hasattr(self._local, "worker"):
            self._local.worker = worker.Worker(self._call, catch=BaseException)
        return self._local.worker  # type: ignore[no-any-return]

    def _stop(self, failed: type[BaseException] | None) -> None:
        """Let items that run come to their end, since a thread can't be stopped, and leave the resources.

        Not when the task itself is being ended (a timeout, Ctrl-C): then nothing waits for an item.
        """
        self._halted.set()
        try:
            if failed is None or issubclass(failed, Exception):
                while self._jobs:
                    self.next_report()
                if self._call.factories:
                    self._close_workers(failed)
        finally:
            super()._stop(failed)

    def _close_workers(self, failed: type[BaseException] | None) -> None:
        """Leave every thread's resources in that thread: each takes one of these calls and waits for the others."""
        barrier = threading.Barrier(self.n_jobs)
        for ticket in range(self.n_jobs):
            self._submit(ticket, functools.partial(self._close_worker, barrier, failed))
        while self._jobs:
            self.next_report()

    def _close_worker(self, barrier: threading.Barrier, failed: type[BaseException] | None) -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=GRACE)
        if hasattr(self._local, "worker"):
            close = (
                self._local.worker.close
                if failed is None
                else functools.partial(worker.close_after_failure, self._local.worker)
            )
            close()
