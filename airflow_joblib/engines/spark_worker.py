"""What of a run is Spark's own in a worker, which here is a Python process of an executor."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from pyspark import TaskContext

from airflow_joblib.engines import remote
from airflow_joblib.engines.engine import software

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Value", "leave", "run_chunk", "software_here"]

#: Runs whose first chunk has run here.
_spared: set[str] = set()


class Value:
    """Gets the payload from a broadcast variable."""

    def __init__(self, broadcast: Any) -> None:
        self._broadcast = broadcast

    def __call__(self) -> Any:
        """Get it."""
        return self._broadcast.value


def run_chunk(run: str, payload: Value, data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk and return its pickled report.

    Args:
        run: Which run the chunk is of.
        payload: Gets what the run's workers get once.
        data: The pickled items.
        indices: Their positions in the input.

    Raises:
        RuntimeError: Spark has tried it before. Whether items run again is for the run to say, which counts.
    """
    task = TaskContext.get()
    if task is not None and task.attemptNumber():
        raise RuntimeError("a worker ended")
    report = remote.run_chunk(run, payload, data, indices)
    _spare_garbage(run)
    return report


def _spare_garbage(run: str) -> None:
    """Keep what a run's first chunk has loaded out of the collection of garbage.

    pyspark's daemon collects it after every job, for some 50 ms, a time that grows with all that is loaded.
    """
    if run not in _spared:
        _spared.add(run)
        gc.freeze()


def leave(run: str, _: Iterable[object]) -> list[tuple[list[str], list[tuple[tuple[int, int], list[bytes]]]]]:
    """End a run in this process. Return what went wrong, and what its threads have said."""
    _spared.discard(run)
    if not _spared:
        gc.unfreeze()
    return [remote.leave_saying(run)]


def software_here(_: object) -> dict[str, str | None]:
    """Return the versions of what counts."""
    return software()
