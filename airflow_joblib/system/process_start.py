"""What this process must be like while it starts others and waits for them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from contextlib import contextmanager
from multiprocessing import connection
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["SAFE_PATH", "forget_safe_path", "hidden_main", "not_daemonic", "running_clock", "safe_path", "shared"]

_NAME = "PYTHONSAFEPATH"
#: What it is set to here: anything does, and this one shows whose it is.
_OURS = "airflow-joblib"
#: What keeps an interpreter from looking for modules in the current directory, as ``-c`` and ``-m`` have it do.
SAFE_PATH = {_NAME: _OURS}


def shared(change: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Make a change to the process last while any thread needs it: the first makes it, the last undoes it."""
    lock = threading.Lock()
    held: list[AbstractContextManager[None]] = []

    @contextmanager
    def share() -> Iterator[None]:
        with lock:
            made = held[-1] if held else change()
            if not held:
                made.__enter__()
            held.append(made)
        try:
            yield
        finally:
            with lock:
                held.pop()
                if not held:
                    made.__exit__(None, None, None)

    return share


@shared
@contextmanager
def not_daemonic() -> Iterator[None]:
    """Let this process have children, which a process marked as daemonic may not, as a task under Celery is.

    The mark is there lest children outlive it; the pool sees to that itself.
    """
    process = multiprocessing.current_process()
    daemon = process.daemon
    process.daemon = False
    try:
        yield
    finally:
        process.daemon = daemon


@shared
@contextmanager
def hidden_main() -> Iterator[None]:
    """Hide the main script from workers that are spawned: they would run it again, and it is the airflow command."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@shared
@contextmanager
def safe_path() -> Iterator[None]:
    """Keep interpreters that are started from looking for modules in the current directory."""
    if os.environ.get(_NAME):
        yield
        return
    os.environ[_NAME] = _OURS
    try:
        yield
    finally:
        os.environ.pop(_NAME, None)


def forget_safe_path() -> None:
    """Undo it in a process that was started so: a script that an item starts finds what lies beside it."""
    if os.environ.get(_NAME) == _OURS:
        del os.environ[_NAME]


@shared
@contextmanager
def running_clock() -> Iterator[None]:
    """Let multiprocessing count by a clock that goes on, where a unit test has stopped that of the time module.

    A mere look at a pipe would never end: it goes on until more time has passed than none.
    """
    module: Any = connection
    before = getattr(module, "time", None)
    stopped = before is time and clock.stands_still(time.monotonic)
    if stopped:
        module.time = ModuleType("time")
        vars(module.time).update({**vars(time), "monotonic": clock.now})
    try:
        yield
    finally:
        if stopped:
            module.time = before
