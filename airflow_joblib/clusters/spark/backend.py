"""joblibspark's backend for joblib, driven so that a core of Spark never waits for its next job."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from typing import Any

from joblibspark.backend import SparkDistributedBackend

from airflow_joblib.system.warning_filters import ignored

__all__ = ["Backend"]


class Backend(SparkDistributedBackend):
    """Hands Spark as many jobs as it is given: a core that is done then finds its next one there."""

    _pool: Any

    def _is_support_stage_scheduling(self) -> bool:
        return False  # a job takes what the session sets, and need not set it itself

    def configure(self, n_jobs: int = 1, parallel: Any = None, **more: Any) -> int:
        """Take note of the number of jobs at a time, and return it."""
        self._size = int(super().configure(n_jobs, parallel, **more))
        return self._size

    def _get_pool(self) -> Any:
        if self._pool is None:
            self._pool = ThreadPool(2 * self._size)
        return self._pool

    def apply_async(self, func: Any, callback: Any = None) -> Any:
        """Hand over a batch."""
        with ignored(r"pyspark\."):  # of a session's tags, which there are none of
            return super().apply_async(func, callback)

    def terminate(self) -> None:
        """Cancel all jobs, and end the threads that wait for them."""
        super().terminate()
        if self._pool is not None:
            self._pool.terminate()
