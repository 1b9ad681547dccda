"""The task's side: have loky start its processes without what they don't need.

Nothing of loky's is changed for anybody else, and nothing where it is not as it is known here: then False is the
answer, and loky goes on by itself.
"""

from __future__ import annotations

import copy
import os
import site
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import airflow_joblib

__all__ = ["lean", "tracker"]

_lock = threading.Lock()


def tracker() -> None:
    """Start loky's resource tracker, unless it runs."""
    from joblib.externals.loky.backend import resource_tracker

    with suppress(AttributeError), _lock:
        main = resource_tracker.main
        before = main.__module__
        if _reachable():
            main.__module__ = "airflow_joblib.lean.resource_tracker"  # where the new process imports it from
        try:
            resource_tracker.ensure_running()
        finally:
            main.__module__ = before


def lean(executor: Any) -> bool:
    """Have an executor of loky start lean workers, and tell whether it will.

    They can be sent what needs no joblib to be loaded: an array, which joblib would map, travels as any other object.
    """
    try:
        context, queues = executor._context, (executor._call_queue, executor._result_queue)  # noqa: SLF001
        known = not executor._processes and all(type(queue._reducers) is dict for queue in queues)  # noqa: SLF001
        process = _lean_process(context.Process)
    except (AttributeError, ImportError, TypeError):
        return False
    if not known or process is None or not _reachable():
        return False
    for queue in queues:
        queue._reducers = {}  # noqa: SLF001
    executor._context = own = copy.copy(context)  # noqa: SLF001
    own.Process = process
    return True


@cache
def _lean_process(kind: Any) -> Any:
    """Return the class of a lean worker in the place of loky's; None where that is another one than is known."""
    from joblib.externals.loky.backend.process import LokyProcess

    from airflow_joblib.lean.popen import LeanPopen

    if kind is not LokyProcess:
        return None

    class LeanProcess(LokyProcess):  # type: ignore[misc]
        def __reduce__(self) -> Any:
            return object.__new__, (LokyProcess,), vars(self)

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            return LeanPopen(process_obj)

    return LeanProcess


@cache
def _reachable() -> bool:
    """Tell whether a fresh interpreter finds this package, without a search path that was changed since this one began.

    Not certain means no.
    """
    if sys.platform == "win32":
        return False
    from joblib.externals import loky

    home = _home(airflow_joblib)
    return home == Path(loky.__file__).resolve().parents[3] or home in _paths_at_start()


def _home(package: Any) -> Path:
    return Path(package.__file__).resolve().parents[1]


def _paths_at_start() -> set[Path]:
    """Return what ``PYTHONPATH`` and ``.pth`` files put on every interpreter's search path."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(path).is_absolute()]
    for folder in site.getsitepackages():
        for file in Path(folder).glob("*.pth"):
            with suppress(OSError, UnicodeDecodeError):
                given += [line for line in file.read_text().splitlines() if line.startswith("/")]
    return {Path(path.strip()).resolve() for path in given}
