"""Workers, as joblib's backends make them.

``joblib.Parallel`` sets a backend up and takes it down; between the two this module hands it one chunk after another
through the interface that joblib gives to backends (``submit`` with a callback). Driving it so, and not through
``Parallel.__call__``, keeps the number of chunks under way bounded, shows every report as it comes, and works for
``multiprocessing`` too, for which joblib can't return results as they finish.
"""

from __future__ import annotations

import functools
import os
import queue
import signal
import threading
import time
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Protocol, Self

import joblib
import psutil
from joblib.parallel import BatchedCalls

from airflow_joblib import worker
from airflow_joblib.exceptions import InvalidOptionError, WorkerLostError
from airflow_joblib.picklability.pickler import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_joblib.call import Call
    from airflow_joblib.worker import Report

__all__ = ["Chunk", "FewerWorkersError", "Pool", "ProcessPool", "ThreadPool"]

#: Seconds that workers get to leave what they hold, before they are killed.
GRACE = 3.0
#: Seconds between two looks at whether the workers still live.
_WATCH = 0.5


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

    _exclusive: AbstractContextManager[object] = nullcontext()

    def __init__(self, backend: str, n_jobs: int, backend_options: Mapping[str, Any], **settings: object) -> None:
        self.n_jobs = n_jobs
        self._name = backend
        self._options = backend_options
        self._settings = settings
        self._done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._jobs: dict[int, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._exclusive)
            self._start()
            self._leave = undo.pop_all()
        return self

    def _start(self) -> None:
        try:
            with joblib.parallel_config(backend=self._name, **{**self._options, **self._settings}):
                self._parallel = joblib.Parallel(n_jobs=self.n_jobs)
            self._parallel.__enter__()
        except (TypeError, AssertionError) as error:
            msg = f"backend_options {sorted(self._options)} don't suit the backend {self._name!r}: {error}"
            raise InvalidOptionError(msg) from error
        self._backend: Any = self._parallel._backend  # noqa: SLF001 - what joblib set up, through its documented interface
        if self.n_jobs != 1 and isinstance(self._backend, joblib.parallel.SequentialBackend):
            self._parallel.__exit__(None, None, None)
            raise FewerWorkersError

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._leave:
            self._stop(failed=kind)

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

    def next_report(self) -> Report:
        """Wait for the next chunk to finish.

        Raises:
            WorkerLostError: A worker ended before it gave back its items.
        """
        while True:
            try:
                ticket, out = self._done.get(timeout=_WATCH)
            except queue.Empty:
                self._check_alive()
            else:
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
                    self._close_workers()
        finally:
            super()._stop(failed)

    def _close_workers(self) -> None:
        """Leave every thread's resources in that thread: each takes one of these calls and waits for the others."""
        barrier = threading.Barrier(self.n_jobs)
        for ticket in range(self.n_jobs):
            self._submit(ticket, functools.partial(self._close_worker, barrier))
        while self._jobs:
            self.next_report()

    def _close_worker(self, barrier: threading.Barrier) -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=GRACE)
        if hasattr(self._local, "worker"):
            self._local.worker.close()


class ProcessPool(Pool):
    """Workers that are processes, which get the call once, when they start."""

    # joblib keeps one pool of loky workers for the whole process and replaces it when asked for another one.
    _exclusive = threading.RLock()

    def __init__(self, payload: worker.Payload, backend: str, n_jobs: int, backend_options: Mapping[str, Any]) -> None:
        self._payload = payload
        self._starts = backend in {"loky", "multiprocessing"}
        settings = {"initializer": worker.start, "initargs": (payload,)} if self._starts else {}
        super().__init__(backend, n_jobs, backend_options, **settings)

    def _start(self) -> None:
        super()._start()
        self._processes = self._living()

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        if self._starts:
            return functools.partial(worker.run_chunk, chunk.data, chunk.first)
        return functools.partial(worker.run_chunk_anywhere, self._payload, chunk.data, chunk.first)

    def _report(self, result: bytes) -> Report:
        return loads(result)  # type: ignore[no-any-return]

    def _result(self, job: Any, out: object) -> Any:
        try:
            return super()._result(job, out)
        except BrokenExecutor as error:
            raise self._lost(type(error).__name__) from error

    def _living(self) -> list[Any]:
        """Return the worker processes of a local pool; none where the backend keeps them to itself."""
        executor = getattr(self._backend, "_workers", None)
        if executor is not None:
            return list(executor._processes.values())  # noqa: SLF001
        pool = getattr(self._backend, "_pool", None)
        return list(getattr(pool, "_pool", ()))

    def _replaces_workers(self) -> bool:
        """Tell whether the backend puts a new worker in the place of one that has left, as multiprocessing does."""
        return isinstance(self._backend, joblib.parallel.MultiprocessingBackend)

    def _check_alive(self) -> None:
        # A multiprocessing pool replaces a dead worker in silence and waits for its chunk for ever.
        if self._replaces_workers():
            for process in self._processes:
                if process.exitcode is not None:
                    how = f"exit code {process.exitcode}"
                    raise self._lost(how)

    def _lost(self, how: str) -> WorkerLostError:
        msg = (
            f"A worker process of the backend {self._name!r} ended before it gave back its items ({how}). It was "
            "killed, ran out of memory, or crashed in C code."
        )
        return WorkerLostError(msg)

    def _stop(self, failed: type[BaseException] | None) -> None:  # noqa: ARG002
        """End every worker: ask, so that it leaves its resources and runs ``finally``, then kill."""
        workers = list({process.pid: process for process in [*self._processes, *self._living()]}.values())
        offspring = _offspring(workers)
        stopping = threading.Thread(target=self._end_backend, daemon=True)
        if self._replaces_workers():  # else it would replace the workers that leave
            stopping.start()
            stopping.join(_WATCH / 10)
        for process in _ask_to_leave(workers):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # loky's processes have no kill()
        for process in offspring:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if not self._replaces_workers():
            stopping.start()
        stopping.join(GRACE)
        for process in workers:
            process.join(_WATCH)
        self._processes = []

    def _end_backend(self) -> None:
        # What it could complain about, workers that are gone, is what was asked for.
        with suppress(Exception):
            self._backend.abort_everything(ensure_ready=False)
        with suppress(Exception):
            self._parallel.__exit__(None, None, None)


def _offspring(workers: list[Any]) -> list[psutil.Process]:
    """Return what the workers' items have started and not ended."""
    found = []
    for process in workers:
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(process.pid).children(recursive=True)
    return found


def _ask_to_leave(workers: list[Any]) -> list[Any]:
    """Ask until all have left or the grace is over, and return those that have not.

    More than once, since between two items a worker's pool may catch what unwinds it. Waits for sentinels, since
    whoever waits for the process itself takes its exit status from its pool.
    """
    alive, until = {process.sentinel: process for process in workers}, time.monotonic() + GRACE
    while alive and time.monotonic() < until:
        for process in alive.values():
            process.terminate()
        for sentinel in connection.wait(list(alive), timeout=_WATCH):
            del alive[sentinel]
    return list(alive.values())
