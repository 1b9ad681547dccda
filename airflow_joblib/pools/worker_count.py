"""How many workers a run has, and why they are fewer than asked for."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import joblib

from airflow_joblib.options.backends import backend_named
from airflow_joblib.system import cpu_count

if TYPE_CHECKING:
    from airflow_joblib.options.options import Options

__all__ = ["WorkerCount"]

log = logging.getLogger("airflow_joblib")


class WorkerCount:
    """The workers of one run, in numbers.

    Args:
        name: The function's name.
        n_jobs: Workers asked for, joblib's meaning.
        backend: Name of the backend.
        options: The decorator's options.
    """

    def __init__(self, name: str, n_jobs: int, backend: str, options: Options) -> None:
        self._name = name
        self._n_jobs = n_jobs
        self._backend = backend
        self._options = options

    def requested(self) -> int:
        """Return how many workers are asked for."""
        backend = backend_named(self._backend)
        if backend.one:
            return 1
        if not backend.registered:  # of a cluster, as many as a local one would have
            return self._of(cpu_count.count()) if self._n_jobs < 0 else self._n_jobs
        with joblib.parallel_config(backend=self._backend, **self._options.backend_options):
            return max(1, int(joblib.effective_n_jobs(self._n_jobs)))

    def _of(self, available: int) -> int:
        return max(1, available + 1 + self._n_jobs)

    def on_cluster(self, slots: int) -> int:
        """Return how many workers run, of those that a cluster has."""
        if self._n_jobs < 0:
            return self._of(slots)
        if slots < self._n_jobs:
            self.warn_fewer(slots, self._n_jobs, f"the {self._backend} cluster has no more")
        return min(slots, self._n_jobs)

    def at_most(self, items: int, workers: int, *, left: bool = False) -> int:
        """Return no more workers than chunks there can be, and log it where their number was given.

        Args:
            items: Items that are to run.
            workers: Workers that are asked for.
            left: Whether they are what an earlier try has left.
        """
        size = 1 if self._options.batch_size == "auto" else self._options.batch_size
        chunks = -(-items // size)
        if 0 < chunks < workers and self._n_jobs > 0:
            what = ("item" if size == 1 else f"batch of {size}", "items" if size == 1 else f"batches of {size}")
            why = f"there is only one {what[0]}" if chunks == 1 else f"there are only {chunks} {what[1]}"
            self.warn_fewer(chunks, workers, f"{why} left" if left else why)
        return min(chunks, workers)

    def warn_of_one_cpu(self) -> None:
        """Log it where every CPU was asked for and something other than the machine leaves this process one."""
        if self._n_jobs == -1 and self._is_local() and (why := cpu_count.shortage()):
            self.warn_fewer(1, os.cpu_count() or 1, why)

    def _is_local(self) -> bool:
        backend = backend_named(self._backend)
        return backend.starts or backend.threads

    def warn_fewer(self, workers: int, asked: int, why: str) -> None:
        """Log that fewer workers run than asked for, and why."""
        plural = "worker" if workers == 1 else "workers"
        log.warning("%s runs on %d %s instead of %d: %s.", self._name, workers, plural, asked, why)
