"""Shows the record of a run while it goes on, and when it is over: from a thread, since to write it takes a while."""

from __future__ import annotations

import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Self

from airflow_joblib.system import clock
from airflow_joblib.worker.process import inside_worker
from airflow_joblib.worker.verdicts import skips

if TYPE_CHECKING:
    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.fan_out.record.recorder import Recorder
    from airflow_joblib.pools.watchdog import LostWorkersError
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report

__all__ = ["EVERY", "PATIENCE", "LiveRecord"]

log = logging.getLogger("airflow_joblib")

#: Seconds between two writes, and before the first. After a slow write it is so many times as long as that took, since
#: whoever answers it has other things to do as well.
EVERY, _TIMES = 2.0, 20.0
#: Seconds that a run, or its task, waits at its end for the last write.
PATIENCE = 2.0
_SLOW = "%s: the record of the run takes longer than %.0f s to write. The task goes on, and so does the write."


class LiveRecord:
    """The record of a run, which its host shows. A context manager around the run.

    Args:
        recorder: Adds the run up.
        host: What surrounds the run.
        shown: Whether its host is to show it.
    """

    def __init__(self, recorder: Recorder, host: Host, *, shown: bool) -> None:
        self.recorder = recorder
        self._host = None if inside_worker() else host
        self._display = self._host.run_display() if shown and self._host is not None else None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, *__: object) -> None:
        self.recorder.finish("success" if error is None or skips(error) else "failed")
        if self._host is not None:
            self._host.measure(self.recorder.figures())
        if self._display is not None:
            self.start()
            self._over.set()
            if self._thread is not None:
                self._thread.join(PATIENCE)
                if self._thread.is_alive():
                    log.warning(_SLOW, self.recorder.name, PATIENCE)

    def start(self) -> None:
        """Begin to show it; to be called when no more processes are forked from this one."""
        if self._display is not None and self._thread is None:
            run = contextvars.copy_context().run  # where Airflow, and tracing, look for the task
            self._thread = threading.Thread(target=run, args=(self._write,), name="record of a run", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        assert self._display is not None  # noqa: S101 - as the caller saw
        wait = max(0.0, EVERY - self.recorder.seconds)
        while not self._over.wait(wait):
            began = clock.now()
            self._display(self.recorder.snapshot(), over=False)
            wait = max(EVERY, _TIMES * (clock.now() - began))
        self._display(self.recorder.snapshot(), over=True)

    def add_times(self, report: Report) -> None:
        """Take note of where the time of a chunk went."""
        with self.recorder.lock:
            self.recorder.stats.add(report)

    def lose(self, lost: LostWorkersError) -> None:
        """Take note of workers that are gone: all of the pool, unless it goes on."""
        self.recorder.lose([dead.pid for dead in lost.dead] if lost.goes_on else None)

    def add(self, chunk: ItemChunk, report: Report) -> None:
        """Take note of a chunk."""
        self.recorder.add(chunk, report)
