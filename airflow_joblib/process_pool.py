"""Workers that are processes: started with the call, watched, and ended for certain."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import connection
from types import ModuleType
from typing import TYPE_CHECKING, Any

import joblib
import psutil

from airflow_joblib import worker
from airflow_joblib.exceptions import ParallelTaskError, WorkerLostError
from airflow_joblib.picklability.pickler import loads
from airflow_joblib.pool import GRACE, WATCH, FewerWorkersError, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.pool import Chunk
    from airflow_joblib.worker import Report

__all__ = ["ProcessPool"]

# joblib keeps one pool of loky workers for the whole process and replaces it when asked for another one.
_one_at_a_time = threading.RLock()
_here = threading.local()

_CLOSE_FAILED = (
    "All items ended well, but leaving a per_worker resource failed in a worker: its traceback is in the log above. "
    "What it should have done on leaving, such as a commit, may not have happened. Do that in each item."
)

#: As loky writes it: ``{SIGKILL(-9), EXIT(1)}``.
_EXIT_CODE = re.compile(r"\((-?\d+)\)")


class ProcessPool(Pool):
    """Workers that are processes, which get the call once, when they start."""

    def __init__(
        self,
        payload: worker.Payload,
        backend: str,
        n_jobs: int,
        backend_options: Mapping[str, Any],
        *,
        resources: bool = False,
    ) -> None:
        self._payload = payload
        self._resources = resources
        self._starts = backend in {"loky", "multiprocessing"}
        settings = {"initializer": worker.start, "initargs": (payload,)} if self._starts else {}
        self._processes: list[Any] = []
        super().__init__(backend, n_jobs, backend_options, **settings)

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        if getattr(_here, "loky", False) and not self._replaces_workers():
            raise FewerWorkersError("the items of another fan-out are drawn from it, which has joblib's loky workers")
        with _one_at_a_time, _not_daemonic():
            _here.loky = not self._replaces_workers()
            try:
                yield
            finally:
                _here.loky = False

    def _start(self) -> None:
        with _hidden_main() if self._replaces_workers() else nullcontext():
            super()._start()
        self._processes = self._living()

    def _task(self, chunk: Chunk) -> Callable[[], bytes]:
        if self._starts:
            return functools.partial(worker.run_chunk, chunk.data, chunk.first)
        return functools.partial(worker.run_chunk_anywhere, self._payload, chunk.data, chunk.first)

    def _submit(self, ticket: int, task: Callable[[], Any]) -> None:
        try:
            super()._submit(ticket, task)
        except BrokenExecutor as error:
            raise self._lost(_EXIT_CODE.findall(str(error))) from None

    def _report(self, result: bytes) -> Report:
        return loads(result)  # type: ignore[no-any-return]

    def _result(self, job: Any, out: object) -> Any:
        try:
            return super()._result(job, out)
        except BrokenExecutor as error:
            # Not chained: loky's message guesses at a segmentation fault and at memory.
            raise self._lost(_EXIT_CODE.findall(str(error))) from None

    def _living(self) -> list[Any]:
        """Return the worker processes of a local pool; none where the backend keeps them to itself."""
        executor = getattr(self._backend, "_workers", None)
        if executor is not None:
            return list(executor._processes.values())  # noqa: SLF001
        pool = getattr(self._backend, "_pool", None)
        return list(getattr(pool, "_pool", ()))

    def _replaces_workers(self) -> bool:
        """Tell whether the backend puts a new worker in the place of one that has left, as multiprocessing does."""
        kind = joblib.parallel.BACKENDS.get(self._name)
        return isinstance(kind, type) and issubclass(kind, joblib.parallel.MultiprocessingBackend)

    def _check_alive(self) -> None:
        # A multiprocessing pool replaces a dead worker in silence and waits for its chunk for ever.
        if self._replaces_workers():
            codes = [str(process.exitcode) for process in self._processes if process.exitcode is not None]
            if codes:
                raise self._lost(codes)

    def _lost(self, codes: list[str]) -> WorkerLostError:
        how = " and ".join(sorted({_ending(int(code)) for code in codes})) or "ended"
        msg = f"A worker process of the backend {self._name!r} {how} before it gave back its items."
        return WorkerLostError(msg)

    def _stop(self, failed: type[BaseException] | None) -> None:
        """End every worker: ask, so that it leaves its resources and runs ``finally``, then kill.

        Where all went well resources get the time that they take; else the task must end.
        """
        patience = math.inf if failed is None and self._resources else GRACE
        workers = list({process.pid: process for process in [*self._processes, *self._living()]}.values())
        offspring = _offspring(workers)
        self._disown()
        stopping = threading.Thread(target=self._end_backend, daemon=True)
        if self._replaces_workers():  # else it would replace the workers that leave
            stopping.start()
            stopping.join(WATCH / 10)
        for process in _ask_to_leave(workers, patience):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # loky's processes have no kill()
        for process in offspring:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if not self._replaces_workers():
            stopping.start()
        stopping.join(GRACE)
        for process in workers:
            process.join(WATCH)
        self._processes = []
        if failed is None and any(process.exitcode == worker.CLOSE_FAILED for process in workers):
            raise ParallelTaskError(_CLOSE_FAILED)

    def _disown(self) -> None:
        """Take loky's workers out of its hands: as soon as one has left it would kill those still leaving."""
        executor = getattr(self._backend, "_workers", None)
        if executor is not None:
            executor._processes.clear()  # noqa: SLF001

    def _end_backend(self) -> None:
        # What it could complain about, workers that are gone, is what was asked for.
        with suppress(Exception):
            self._backend.abort_everything(ensure_ready=False)
        with suppress(Exception):
            self._parallel.__exit__(None, None, None)


def _ending(code: int) -> str:
    """Say how a process ended, from its exit code."""
    if code >= 0:
        return f"left with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _offspring(workers: list[Any]) -> list[psutil.Process]:
    """Return what the workers' items have started and not ended."""
    found = []
    for process in workers:
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(process.pid).children(recursive=True)
    return found


def _ask_to_leave(workers: list[Any], patience: float) -> list[Any]:
    """Ask until all have left or *patience*, in seconds, is over, and return those that have not.

    More than once, since between two items a worker's pool may catch what unwinds it. Waits for sentinels, since
    whoever waits for the process itself takes its exit status from its pool.
    """
    alive, until = {process.sentinel: process for process in workers}, time.monotonic() + patience
    while alive and time.monotonic() < until:
        for process in alive.values():
            process.terminate()
        for sentinel in connection.wait(list(alive), timeout=WATCH):
            del alive[sentinel]
    return list(alive.values())


@contextmanager
def _not_daemonic() -> Iterator[None]:
    """Let this process have children, which a process marked as daemonic may not, as a task under Celery is.

    The mark is there lest children outlive it; the pool sees to that itself.
    """
    config = getattr(multiprocessing.current_process(), "_config", {})
    daemon = config.get("daemon", False)
    config["daemon"] = False
    try:
        yield
    finally:
        config["daemon"] = daemon


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Hide the main script from workers that are spawned: they would run it again, and it is the airflow command."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
