"""The task's side: have loky start its processes as this library does.

Nothing of loky's is changed for anybody else, and nothing where it is not as it is known here: then False is the
answer, and loky goes on by itself.
"""

from __future__ import annotations

import copy
import importlib
import os
import signal
import site
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import airflow_joblib
from airflow_joblib.system.lean_loky import process
from airflow_joblib.system.private_names import gone, has

__all__ = ["PLACES", "lean", "tracker"]

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

_lock = threading.Lock()
#: What would end a tracker before it has begun, and that it ignores from then on.
_IGNORED = (signal.SIGINT, signal.SIGTERM)


def tracker(whose: str = "loky") -> Any:
    """Start the resource tracker of loky, or of ``multiprocessing``, unless it runs, and return its module.

    Raises:
        ParallelTaskError: joblib has it no more.
    """
    name = "joblib.externals.loky.backend.resource_tracker" if whose == "loky" else "multiprocessing.resource_tracker"
    try:
        resource_tracker = importlib.import_module(name)
    except ImportError:
        raise gone("joblib", name) from None
    tracker: Any = getattr(resource_tracker, "_resource_tracker", None)
    with suppress(AttributeError), _lock:
        if tracker._fd is None and tracker._pid is None and _reachable():  # noqa: SLF001
            tracker._fd, tracker._pid = _start_tracker(whose)  # noqa: SLF001
    resource_tracker.ensure_running()
    return resource_tracker


def _start_tracker(whose: str) -> tuple[int, int]:
    """Start one as they do themselves, and return by what it is told, and its process id."""
    told, tell = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # inherited, until it ignores them
    try:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        return tell, process.start(f"{__package__}.resource_tracker", whose, str(told), keep=told, **streams)
    except BaseException:
        os.close(tell)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(told)


def lean(executor: Any) -> bool:
    """Have an executor of loky start workers that nobody can look into, and return whether it will."""
    try:
        context, known = executor._context, not executor._processes  # noqa: SLF001
        process = _lean_process(context.Process)
    except (AttributeError, ImportError, TypeError):
        return False
    if not known or process is None or not _reachable():
        return False
    executor._context = own = copy.copy(context)  # noqa: SLF001
    own.Process = process
    return True


@cache
def _lean_process(kind: Any) -> Any:
    """Return the class of a lean worker in the place of loky's; None where that is another one than is known."""
    from joblib.externals.loky.backend.process import LokyProcess

    if kind is not LokyProcess or not _known():
        return None
    from airflow_joblib.system.lean_loky.popen import LeanPopen

    class LeanProcess(LokyProcess):  # type: ignore[misc]
        def __reduce__(self) -> Any:
            return object.__new__, (LokyProcess,), vars(self)

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            return LeanPopen(process_obj)

    return LeanProcess


def _known() -> bool:
    return all(has(importlib.import_module(module), name) for module, names in PLACES.items() for name in names)


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
