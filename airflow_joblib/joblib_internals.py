"""Every private name of joblib, loky and multiprocessing by which pools of processes are watched and ended.

Looked for when a pool has started: a backend whose pool lacks one is an error of one sentence, and the others go on.
What of loky makes its processes lean is in :mod:`airflow_joblib.lean`, which does without where that is not as known.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.private_names import need

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "backend_of",
    "check_loky",
    "check_multiprocessing",
    "disown",
    "executor",
    "locks",
    "pool",
    "processes",
    "workers_of",
]


def backend_of(parallel: Any) -> Any:
    """Return what ``joblib.Parallel`` has set up, which is driven through its documented interface.

    Raises:
        ParallelTaskError: It isn't where it is known to be.
    """
    need("joblib", parallel, ("_backend",), of="joblib.Parallel")
    return parallel._backend  # noqa: SLF001


def check_loky(backend: Any) -> None:
    """Check that loky's workers can be watched and ended.

    Raises:
        ParallelTaskError: They can't.
    """
    need("joblib", backend, ("_workers._processes",), of="joblib.parallel.LokyBackend")


def check_multiprocessing(backend: Any) -> None:
    """Check that the workers of a pool of multiprocessing can be watched and ended.

    Raises:
        ParallelTaskError: They can't.
    """
    names = ("_pool._pool", "_pool._inqueue._rlock", "_pool._outqueue._wlock")
    need("joblib", backend, names, of="joblib.parallel.MultiprocessingBackend")


def executor(backend: Any) -> Any:
    """Return loky's executor; None of another backend."""
    return getattr(backend, "_workers", None)


def pool(backend: Any) -> Any:
    """Return the pool of multiprocessing; None of another backend, or when it has ended."""
    return getattr(backend, "_pool", None)


def processes(backend: Any) -> list[Any]:
    """Return the worker processes of a local pool; none where the backend keeps them to itself."""
    loky = executor(backend)
    return workers_of(pool(backend)) if loky is None else list(loky._processes.values())  # noqa: SLF001


def workers_of(pool: Any) -> list[Any]:
    """Return the workers of a pool of multiprocessing; none where there is no pool any more."""
    return list(getattr(pool, "_pool", None) or ())


def disown(backend: Any, workers: Iterable[Any] | None = None) -> None:
    """Take workers, or all, out of loky's hands: as soon as one has left it would kill those still leaving."""
    loky = executor(backend)
    if loky is None:
        return
    if workers is None:
        loky._processes.clear()  # noqa: SLF001
        return
    for process in workers:
        loky._processes.pop(process.pid, None)  # noqa: SLF001


def locks(pool: Any) -> list[Any]:
    """Return the locks that workers of a pool of multiprocessing take in turn."""
    found = []
    for queue, name in (("_inqueue", "_rlock"), ("_outqueue", "_wlock")):
        with suppress(AttributeError):  # the pool has ended
            found.append(getattr(getattr(pool, queue), name))
    return found
