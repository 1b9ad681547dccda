"""Forked workers as a backend of joblib's, registered with it by its public API."""

from __future__ import annotations

import functools
import pickle
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import joblib
from joblib.parallel import ParallelBackendBase, register_parallel_backend

from airflow_joblib.pools.executor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from airflow_joblib.pools.template import Template

__all__ = ["NAME", "ForkBackend"]

#: joblib has a ``multiprocessing`` of its own, which other code of the process may use.
NAME = "airflow_joblib_fork"


class ForkBackend(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Workers that are forked from a template.

    Args:
        nesting_level: joblib's.
        inner_max_num_threads: joblib's.
        template: Forks the workers.
        shared: Descriptors that each worker gets.
        start: Called in each worker with those, before its first task; can be pickled.
        leave: Called in each worker after its last task; can be pickled.
    """

    supports_inner_max_num_threads = True
    supports_retrieve_callback = True
    executor: Executor | None = None

    def __init__(  # noqa: PLR0913 - joblib's two, and what workers need
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        template: Template,
        shared: Sequence[int] = (),
        start: Callable[..., object] = bool,
        leave: Callable[[], object] = bool,
    ) -> None:
        super().__init__(nesting_level, inner_max_num_threads)
        self._template = template
        self._shared = shared
        self._start = start
        self._leave = leave

    def effective_n_jobs(self, n_jobs: Any) -> Any:
        """Return the number of workers, which the caller has counted."""
        return n_jobs

    def configure(
        self, n_jobs: Any = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **backend_kwargs: Any
    ) -> Any:
        """Prepare to fork the workers."""
        del prefer, require, backend_kwargs
        self.parallel = parallel
        start = functools.partial(_begin, self._start, self.get_nested_backend())
        first_message = pickle.dumps((start, self._leave), pickle.HIGHEST_PROTOCOL)
        self.executor = Executor(self._template, n_jobs, first_message, self._shared)
        return n_jobs

    def submit(self, func: Callable[[], bytes], callback: Callable[[Any], object] | None = None) -> Future[bytes]:
        """Hand over a task that returns bytes."""
        assert self.executor is not None  # noqa: S101 - joblib has configured it
        future = self.executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return what a task has returned, as a batch of one."""
        return [out.result()]

    def terminate(self) -> None:
        """Let go of the workers, which have ended."""
        executor, self.executor = self.executor, None
        if executor is not None:
            executor.shutdown()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - joblib's
        """Do the same."""
        self.terminate()


_nested = ExitStack()


def _begin(start: Callable[..., object], nested: tuple[Any, int | None], *shared: int) -> None:
    """Start a worker, in which joblib nests as it does in workers of its own."""
    backend, n_jobs = nested
    _nested.enter_context(joblib.parallel_config(backend=backend, n_jobs=n_jobs))
    start(*shared)


register_parallel_backend(NAME, ForkBackend)
