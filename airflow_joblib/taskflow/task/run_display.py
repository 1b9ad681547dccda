"""The record of a task's runs as its XCom ``fan_out``: written now and then while they go on, and at their end."""

from __future__ import annotations

import contextvars
import logging
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.record.fitting import RUNS, document
from airflow_joblib.fan_out.record.live import EVERY, PATIENCE
from airflow_joblib.system import clock
from airflow_joblib.taskflow.relay.worker_context import task_context
from airflow_joblib.taskflow.task import masks
from airflow_joblib.taskflow.task.supervisor_lock import keep_turns
from airflow_joblib.taskflow.task.xcom import when_over

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_joblib.fan_out.host import RunDisplay

__all__ = ["KEY", "run_display"]

log = logging.getLogger("airflow_joblib")

KEY = "fan_out"
_FAILED = (
    "The XCom %r, which shows this task's runs while they go on, could not be written: %s: %s. The runs go on without; "
    "[joblib] record = False turns it off."
)


class _Runs:
    """The last runs of one try of a task. One thread at a time writes them; whoever comes meanwhile does not wait."""

    def __init__(self, ti: Any) -> None:
        self._ti = ti
        self.of = _identity(ti)
        self._runs: dict[int, dict[str, Any]] = {}
        self._places = count()
        self._lock = threading.Lock()  # never held while a write is under way, which may take as long as it likes
        self._last_write = self._last_end = float("-inf")
        self._later: threading.Thread | None = None
        self._waits = False
        self._task_over = threading.Event()
        self._writing = False
        self._again = False
        self._failed = False

    def begin(self) -> RunDisplay:
        """Return what shows one more run."""
        place = next(self._places)

        def show(record: Mapping[str, Any], /, *, over: bool) -> None:
            # Masked again: a secret may have become known since a text was made.
            texts = {name: masks.masked(record[name]) for name in ("slowest", "failures")}
            with self._lock:
                self._runs[place] = {**record, **texts}
                for old in sorted(self._runs)[:-RUNS]:
                    del self._runs[old]
                due = self._due(over=over)
            if due:
                self._write(over=over)

        return show

    def _due(self, *, over: bool) -> bool:
        """Return whether to write now; runs that go on at the same time share the pace."""
        now = clock.now()
        if not over:
            return now - self._last_write >= EVERY
        if self._waits:
            return False
        if now - self._last_end >= EVERY:
            self._last_end = now
            return True
        self._waits = True  # a task of many small runs writes the ends of several at a time
        self._start_later(self._last_end + EVERY - now)
        return False

    def _start_later(self, seconds: float) -> None:
        if self._later is None:
            when_over(self._finish)
        run = contextvars.copy_context().run  # where Airflow, and tracing, look for the task
        args = self._write_later, seconds
        self._later = threading.Thread(target=run, args=args, name="record of a task", daemon=True)
        self._later.start()

    def _write_later(self, seconds: float) -> None:
        """Write what has ended, some seconds from now or when the task is over."""
        self._task_over.wait(seconds)
        with self._lock:
            self._waits = False
            self._last_end = clock.now()
        self._write(over=True)

    def _finish(self) -> None:
        """Have what waits written now, for the task is over."""
        self._task_over.set()
        if self._later is not None:
            self._later.join(PATIENCE)

    def _write(self, *, over: bool) -> None:
        """Write the runs; what ended since a write began is written by the same thread."""
        with self._lock:
            if self._writing:
                self._again |= over
                return
            self._writing = self._again = True
        while made := self._next_document():
            self._push(made)

    def _next_document(self) -> dict[str, Any] | None:
        with self._lock:
            self._writing, self._again = self._again, False
            if not self._writing:
                return None
            self._last_write = clock.now()
            made = document([self._runs[place] for place in sorted(self._runs)])
            self._runs = dict(zip(sorted(self._runs), made["runs"], strict=True))  # what was cut needs no second time
            return made

    def _push(self, made: Mapping[str, Any]) -> None:
        try:
            self._ti.xcom_push(key=KEY, value=made)
        except BaseException as error:  # noqa: BLE001 - a picture of a run must not be why it fails, nor end unseen
            if not self._failed:
                self._failed = True
                log.warning(_FAILED, KEY, type(error).__name__, masks.mask(str(error))[:300])


_runs: _Runs | None = None
_making = threading.Lock()


def _identity(ti: Any) -> tuple[Any, ...]:
    return ti.id, ti.try_number


def run_display() -> RunDisplay | None:
    """Return what shows a run of the current task that begins now; None where no task runs here."""
    ti = (task_context() or {}).get("ti")
    if ti is None:
        return None
    keep_turns()  # an end may be written when no run goes on any more
    return _runs_of(ti).begin()


def _runs_of(ti: Any) -> _Runs:
    global _runs  # noqa: PLW0603 - the runs of a task have nothing else in common
    with _making:
        if _runs is None or _runs.of != _identity(ti):
            _runs = _Runs(ti)
        return _runs
