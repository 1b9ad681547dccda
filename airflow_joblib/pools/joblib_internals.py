"""Every private name of joblib, loky and multiprocessing by which pools of processes are watched and ended.

Looked for when a pool has started: a backend whose pool lacks one is an error of one sentence, and the others go on.
How loky's processes are started is in :mod:`airflow_joblib.system.isolated_start`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.system.internals import need

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "backend_of",
    "check_loky",
    "disown",
    "executor",
    "processes",
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


def executor(backend: Any) -> Any:
    """Return loky's executor; None of another backend."""
    return getattr(backend, "_workers", None)


def processes(backend: Any) -> list[Any]:
    """Return the worker processes of a local pool; none where the backend keeps them to itself."""
    loky = executor(backend)
    if loky is not None:
        return list(loky._processes.values())  # noqa: SLF001
    return list(getattr(getattr(backend, "_pool", None), "_pool", None) or ())  # as multiprocessing's pool has them


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
