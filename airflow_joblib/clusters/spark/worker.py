"""What of a run is Spark's own in a worker, which here is a Python process of an executor."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from pyspark import TaskContext

from airflow_joblib.clusters import worker
from airflow_joblib.clusters.engine import software

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Value", "leave", "run_chunk", "software_here"]

#: The run for which garbage is kept out of the collection.
_spared = ""
#: Some versions of Python have frozen that many objects when they start.
_FROZEN_AT_START = 1000


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
        RuntimeError: Spark has tried it before. Whether items run again is for the run to decide, which counts.
    """
    task = TaskContext.get()
    if task is not None and task.attemptNumber():
        raise RuntimeError("a worker ended")
    if worker.knows(run):
        _spare_collection(run)
    return worker.run_chunk(run, payload, data, indices)


def _spare_collection(run: str) -> None:
    """Keep what a run's first chunk has loaded out of the collection of garbage, until the next run or its end.

    pyspark's daemon collects it after every job, as it has after the first: for some 50 ms, a time that grows with all
    that is loaded.
    """
    global _spared  # noqa: PLW0603
    if run == _spared or (not _spared and gc.get_freeze_count() > _FROZEN_AT_START):
        return  # the second: somebody else has a use for it
    _thaw()
    gc.freeze()
    _spared = run


def _thaw() -> None:
    global _spared  # noqa: PLW0603
    if _spared:
        gc.unfreeze()
        _spared = ""


def leave(
    run: str,
    failed: bool,  # noqa: FBT001 - Spark's own argument comes last, by its position
    _: Iterable[object],
) -> list[tuple[list[str], list[tuple[tuple[int, int], list[bytes]]]]]:
    """End a run in this process. Return what went wrong, and what its threads have logged."""
    if run == _spared:
        _thaw()
    return [worker.leave(run, failed=failed)]


def software_here(_: object) -> dict[str, str | None]:
    """Return the versions of what counts."""
    return software()
