"""Threads that BLAS, OpenMP and the like start in a worker process: bounded, so that all workers' fit the CPUs.

loky gives its workers environment variables for that before they load anything. Other workers get them as the first
thing that they do, and what they have loaded by then, or have from a fork, threadpoolctl limits. To find that takes
some 20 ms, so the task does it before it is forked, and once for all runs.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.system import cpu_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["OPTION", "Bound", "apply", "find", "for_each_of"]

#: joblib's option, which it takes for loky only.
OPTION = "inner_max_num_threads"

_VARIABLE_OF = {"openblas": "OPENBLAS_NUM_THREADS", "mkl": "MKL_NUM_THREADS", "blis": "BLIS_NUM_THREADS"}
_LIBRARIES = re.compile(r"/lib[^/\n]*(?:blas|mkl|blis|omp)[^/\n]*", re.IGNORECASE)


class Bound(NamedTuple):
    """Environment variables of a worker, and whether somebody *requested* exactly that many threads."""

    variables: dict[str, str]
    requested: bool


def for_each_of(workers: int, backend_options: Mapping[str, Any]) -> Bound:
    """Return the bound for each of so many workers: what is asked for, what the environment sets, or a fair share.

    Raises:
        InvalidOptionError: What is asked for is no number of threads.
    """
    requested = backend_options.get(OPTION)
    if requested is not None:
        if not isinstance(requested, int) or isinstance(requested, bool) or requested < 1:
            msg = f"backend_options[{OPTION!r}] must be a number of threads above 0, or None, not {requested!r}."
            raise InvalidOptionError(msg)
        return _bound(dict.fromkeys(_names(), str(requested)), requested=True)
    share = str(max(1, cpu_count.count() // workers))
    return _bound({name: os.environ.get(name, share) for name in _names()}, requested=False)


def _names() -> Iterable[str]:
    from joblib.parallel import ParallelBackendBase  # late: a worker needs none of joblib

    return tuple(ParallelBackendBase.MAX_NUM_THREADS_VARS)


def _bound(variables: dict[str, str], *, requested: bool) -> Bound:
    from joblib.parallel import ParallelBackendBase

    name = ParallelBackendBase.TBB_ENABLE_IPC_VAR
    return Bound({**variables, name: os.environ.get(name, "1")}, requested)


def apply(bound: Bound, libraries: Iterable[Any] | None = None) -> None:
    """Bound the threads of this process, a worker, before anything of the user is loaded in it.

    Args:
        bound: How many, as environment variables.
        libraries: Those that it has loaded, where that is known.
    """
    if bound.variables.items() <= os.environ.items():  # from the start: whatever is loaded has seen them
        return
    os.environ.update(bound.variables)
    for library in find() if libraries is None else libraries:
        _bound_library(library, bound)


def find() -> list[Any]:
    """Find the libraries with threads of their own that this process has loaded, unless a fork brought them along."""
    return _controllers(_loaded(len(sys.modules)))


@functools.lru_cache(maxsize=1)
def _controllers(files: frozenset[str]) -> list[Any]:
    """Return what threadpoolctl makes of libraries that are loaded, as long as those are the same *files*."""
    if not files:
        return []
    from threadpoolctl import ThreadpoolController  # late: it takes as long as all else here

    return list(ThreadpoolController().lib_controllers)


@functools.lru_cache(maxsize=1)
def _loaded(modules: int) -> frozenset[str]:  # noqa: ARG001 - as long as there are so many, none has been imported
    with suppress(OSError):
        return frozenset(_LIBRARIES.findall(Path("/proc/self/maps").read_text()))
    return frozenset({"unknown"} if "numpy" in sys.modules else ())


def _bound_library(library: Any, bound: Bound) -> None:
    """Set what a library has loaded with, unless the user's code has set it to less."""
    name = _VARIABLE_OF.get(library.internal_api, "OMP_NUM_THREADS")
    with suppress(ValueError):  # OpenMP's may be a list, or whatever the user's environment has in it
        threads = int(bound.variables[name].partition(",")[0])
        if bound.requested or threads < library.num_threads:
            library.set_num_threads(threads)
