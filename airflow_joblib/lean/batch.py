"""One task for a lean worker, in the place of joblib's ``BatchedCalls``, which would load joblib there."""

from __future__ import annotations

import pickle
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.on_import import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Batch"]

_JOBLIB = "joblib.parallel"

_running: tuple[int, ExitStack, bytes] | None = None
_waits = _loaded = False


class Batch(NamedTuple):
    """A task, and the backend of what it runs in parallel by itself: pickled, since few tasks load joblib."""

    task: Callable[[], Any]
    nested: bytes

    def __call__(self) -> list[Any]:
        """Run the task."""
        global _running, _waits  # noqa: PLW0603 - a worker process is what this module's state describes
        with ExitStack() as stack:
            _running = threading.get_ident(), stack, self.nested
            if _loaded:
                _configure()
            elif not _waits:
                _waits = True
                when_imported(_JOBLIB, _is_loaded)
            try:
                return [self.task()]
            finally:
                _running = None


def _is_loaded() -> None:
    global _loaded  # noqa: PLW0603
    _loaded = True
    _configure()


def _configure() -> None:
    """Set the backend, in the thread that runs a task, until the task has ended."""
    if _running is None:
        return
    thread, stack, nested = _running
    if thread == threading.get_ident():
        backend, n_jobs = pickle.loads(nested)  # noqa: S301 - from the task, as all else
        stack.enter_context(sys.modules[_JOBLIB].parallel_config(backend=backend, n_jobs=n_jobs))
