"""The record of a task's runs as its XCom ``fan_out``: written now and then while they go on, and at their end."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.record.fitting import RUNS, document
from airflow_joblib.fan_out.record.live import EVERY
from airflow_joblib.system import clock
from airflow_joblib.taskflow.relay.worker_context import current
from airflow_joblib.taskflow.task import masks
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
    """The last runs of one try of a task."""

    def __init__(self, ti: Any) -> None:
        self._ti = ti
        self.of = _identity(ti)
        self._runs: dict[int, dict[str, Any]] = {}
        self._begun = 0
        self._lock = threading.RLock()
        self._last_end = float("-inf")
        self._waits = False
        self._failed = False

    def begin(self) -> RunDisplay:
        """Return what shows one more run."""
        with self._lock:
            place = self._begun
            self._begun += 1

        def show(record: Mapping[str, Any], /, *, over: bool) -> None:
            with self._lock:
                self._take(place, record, over=over)

        return show

    def _take(self, place: int, record: Mapping[str, Any], *, over: bool) -> None:
        # Masked again: a secret may have become known since a text was made.
        texts = {name: masks.masked(record[name]) for name in ("slowest", "failures")}
        self._runs[place] = {**record, **texts}
        for old in sorted(self._runs)[:-RUNS]:
            del self._runs[old]
        if not over:
            self._write()
        elif clock.now() - self._last_end >= EVERY:
            self._last_end = clock.now()
            self._write()
        elif not self._waits:  # a task of many small runs writes when one of them lasts, and when the task is over
            self._waits = True
            when_over(self._write_what_waits)

    def _write_what_waits(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        made = document([self._runs[place] for place in sorted(self._runs)])
        self._runs = dict(zip(sorted(self._runs), made["runs"], strict=True))  # what was cut needs no second time
        try:
            self._ti.xcom_push(key=KEY, value=made)
        except Exception as error:  # noqa: BLE001 - a picture of a run must not be why it fails
            if not self._failed:
                self._failed = True
                log.warning(_FAILED, KEY, type(error).__name__, masks.mask(str(error))[:300])


_runs: _Runs | None = None


def _identity(ti: Any) -> tuple[Any, ...]:
    return ti.id, ti.try_number


def run_display() -> RunDisplay | None:
    """Return what shows a run of the current task that begins now; None where no task runs here."""
    global _runs  # noqa: PLW0603 - the runs of a task have nothing else in common
    ti = (current() or {}).get("ti")
    if ti is None:
        return None
    if _runs is None or _runs.of != _identity(ti):
        _runs = _Runs(ti)
    return _runs.begin()
