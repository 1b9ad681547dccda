"""A worker process of this machine ends with its task, whatever either of them is doing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import Any

from airflow_joblib.system import clock, isolation
from airflow_joblib.system.time_limits import LOOK

__all__ = ["Starter", "end_with_task"]


class Starter:
    """Who starts a worker: as it is pickled for one, it takes note whether that is the run's own thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.own = True

    def __getstate__(self) -> dict[str, object]:
        return {"own": threading.get_ident() == self._thread}


def end_with_task(parent: int, *, own: bool) -> None:
    """End this process as soon as the task's does, whatever it is doing: nobody waits for its items any more.

    The kernel kills it (Linux, ``prctl(2)``): when the *thread* ends that started it, so only where that is the run's
    *own*. Where it is another, as loky's is that replaces a worker whose memory has grown and that ends before its
    workers, where there is no such call, or where a fork server stands between the two, a thread looks.
    """
    task = multiprocessing.parent_process()
    if os.getppid() == parent:
        if not (own and isolation.end_with_parent()):
            threading.Thread(target=_outlast_parent, args=(parent,), daemon=True).start()
        gone = os.getppid() != parent
    else:  # loky, which has no fork server, knows no sentinel
        gone = task is None or task.sentinel is None or not task.is_alive()
        if not gone:
            threading.Thread(target=_outlast, args=(task,), daemon=True).start()
    if gone:  # it was faster
        os._exit(128 + signal.SIGKILL)


def _outlast_parent(parent: int) -> None:
    while os.getppid() == parent:
        clock.pause(LOOK)
    os._exit(128 + signal.SIGKILL)


def _outlast(task: Any) -> None:
    task.join()
    os._exit(128 + signal.SIGKILL)
