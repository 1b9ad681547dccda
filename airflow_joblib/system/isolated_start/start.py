"""The task's side: have loky start its processes as this library does.

Nothing of loky's is changed for anybody else. Where loky is not as it is known here nothing is changed at all: loky
starts its processes by itself.
"""

from __future__ import annotations

import copy
import importlib
from functools import cache
from typing import Any

from airflow_joblib.system.internals import has
from airflow_joblib.system.isolated_start.reachable import reachable

__all__ = ["PLACES", "isolate_workers"]

#: What of loky's :mod:`.popen` relies on, by module: its processes start by themselves where a name is another.
PLACES = {
    "joblib.externals.loky.backend.popen_loky_posix": ("Popen.DupFd", "Popen.duplicate_for_child"),
    "joblib.externals.loky.backend.reduction": ("dump",),
    "joblib.externals.loky.backend.resource_tracker": ("_resource_tracker.getfd",),
    "joblib.externals.loky.backend.spawn": ("get_preparation_data",),
    "multiprocessing.context": ("set_spawning_popen",),
    "multiprocessing.process": ("BaseProcess._Popen",),
    "multiprocessing.util": ("Finalize",),
}


def isolate_workers(executor: Any) -> bool:
    """Have an executor of loky start workers that nobody can look into, and return whether it will."""
    try:
        context, known = executor._context, not executor._processes  # noqa: SLF001
        process = _isolated_process(context.Process)
    except (AttributeError, ImportError, TypeError):
        return False
    if not known or process is None or not reachable():
        return False
    executor._context = own = copy.copy(context)  # noqa: SLF001
    own.Process = process
    return True


@cache
def _isolated_process(kind: Any) -> Any:
    """Return a class of processes that takes the place of loky's; None where loky's is not as known."""
    from joblib.externals.loky.backend.process import LokyProcess

    if kind is not LokyProcess or not _known():
        return None
    from airflow_joblib.system.isolated_start.popen import IsolatedPopen

    class IsolatedProcess(LokyProcess):  # type: ignore[misc]
        def __reduce__(self) -> Any:
            return object.__new__, (LokyProcess,), vars(self)

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            return IsolatedPopen(process_obj)

    return IsolatedProcess


def _known() -> bool:
    return all(has(importlib.import_module(module), name) for module, names in PLACES.items() for name in names)
