"""Whether this process can be forked at this moment, and the template that is forked where it can.

A fork copies one thread. What the others held or were to do is lost: polars, scikit-learn, LightGBM, gRPC and numba
hang or crash in a fork once they have used their threads, and not before. The sure way to know is to fork first:
OpenBLAS ends its threads at a fork and starts them again when they are used, so what is left afterwards is what a fork
would lose.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_joblib.pools.executor import work
from airflow_joblib.pools.template import Template
from airflow_joblib.system import clock

if TYPE_CHECKING:
    from types import FrameType

    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["fresh_workers_wanted", "make_template", "other_threads"]

_TASKS = Path("/proc/self/task")
#: Threads that libraries start when they are imported, by the kernel's name, and that a fork does without.
_HARMLESS = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})
#: Packages whose threads a fork does without: they watch or report, and start anew in a child or do nothing there.
_WATCHERS = frozenset(
    {"airflow", "airflow_joblib", "opentelemetry", "ddtrace", "sentry_sdk", "tqdm", "coverage"}
    | {"execnet", "xdist", "pytest_timeout", "pytest_rerunfailures", "debugpy", "_pydevd_bundle"}
    | {"ipykernel", "IPython", "zmq"}
)
#: Of those, what runs on behalf of the user.
_NO_WATCHERS = "airflow.providers."
#: The kernel's names of native threads that belong to those.
_WATCHERS_NATIVE = ("ZMQbg/",)
#: ``airflow dags test`` has an API server in the task's process: its loop, and what that runs requests in. Workers ask
#: by way of the task, as they do under an executor.
_API_LOOP, _API_REQUESTS = "InProcessExecutionAPI-loop", "AnyIO worker thread"
#: Packages whose frames show nothing about whose thread it is.
_NO_OWNER = frozenset({"threading", "concurrent", "queue", "selectors", "asyncio", "socket", "contextlib"})
#: Seconds in which a thread that has just ended, or is ended by a fork, is still seen.
_PATIENCE = 0.1


def fresh_workers_wanted() -> str:
    """Return why workers can't or must not be forked from this process, whatever its state; empty where they may be."""
    if sys.platform != "linux" or not (_TASKS.exists() and hasattr(os, "memfd_create")):
        return "they are forked on Linux only"
    for chosen in (os.environ.get("JOBLIB_START_METHOD", ""), multiprocessing.get_start_method(allow_none=True)):
        if chosen in {"spawn", "forkserver"}:
            return f"the start method {chosen!r} is set"
    return ""


def make_template(given: Inherited) -> tuple[Template, list[str]]:
    """Fork a template, and return it with the names of the threads that it has lost: none where that was safe."""
    template = Template(given, work)
    try:
        return template, other_threads()
    except BaseException:
        template.close()
        raise


def other_threads() -> list[str]:
    """Return the names of this process's other threads that a fork would lose. To be called right after a fork."""
    until = clock.now() + _PATIENCE
    while (found := _unsafe_threads()) and clock.now() < until:
        clock.pause(_PATIENCE / 100)
    return found


def _unsafe_threads() -> list[str]:
    native = {int(each) for each in os.listdir(_TASKS)} - {threading.get_native_id()}  # noqa: PTH208 - on a hot path
    if not native:
        return []
    frames = sys._current_frames()  # noqa: SLF001 - documented, for such purposes
    frames.pop(threading.get_ident(), None)
    found = []
    threads = threading.enumerate()
    known = {_API_LOOP, _API_REQUESTS} if _API_LOOP in {thread.name for thread in threads} else set()
    for thread in threads:
        frame = frames.pop(thread.ident or 0, None)
        if thread.native_id in native:
            native.discard(thread.native_id)
            if thread.name not in known and not _is_watcher(type(thread).__module__, frame):
                found.append(f"Python's {thread.name!r}")
    # What is left of Python's was started without the module threading, which alone would know the kernel's number.
    watchers = sum(_is_watcher("", frame) for frame in frames.values())
    unnamed = [name for each in native if (name := _unsafe_native(each))]
    return found + unnamed[watchers:]


def _is_watcher(kind: str, frame: FrameType | None) -> bool:
    return not _WATCHERS.isdisjoint(_owners(kind, frame))


def _owners(kind: str, frame: FrameType | None) -> set[str]:
    """Return the packages of a thread's class and of the function that it was started with.

    Not those of what that function has called: a user's own thread may run code of any package.
    """
    modules = [kind]
    while frame is not None:
        modules.append(str(frame.f_globals.get("__name__", "")))
        frame = frame.f_back
    started = next((name for name in reversed(modules[1:]) if name.partition(".")[0] not in _NO_OWNER), "")
    return {name.partition(".")[0] for name in (kind, started) if not name.startswith(_NO_WATCHERS)}


def _unsafe_native(thread: int) -> str:
    """Return the name of a thread that is none of Python's, if a fork would lose it."""
    with suppress(OSError):  # it has ended
        name = (_TASKS / str(thread) / "comm").read_text().strip()
        if name in _HARMLESS or name.startswith(_WATCHERS_NATIVE) or _is_watchdog(thread):
            return ""
        return repr(name)
    return ""


def _is_watchdog(thread: int) -> bool:
    """Return whether it is the thread of ``faulthandler.dump_traceback_later``: the one that blocks every signal."""
    if "faulthandler" not in sys.modules:
        return False
    for line in (_TASKS / str(thread) / "status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            blocked = int(line.split()[1], 16)
            return all(blocked >> (number - 1) & 1 for number in (1, 2, 3, 15))
    return False
