"""What has become of items of an asynchronous function since the last report, in the order in which they ended."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from airflow_joblib.system import clock
from airflow_joblib.wire.durations import QUICK, counted
from airflow_joblib.wire.records import Report

if TYPE_CHECKING:
    from airflow_joblib.worker.rate_gate import RateGate

__all__ = ["Collector"]


class Collector:
    """Makes reports of items that end in any order.

    Args:
        gate: Where items wait for the rate, which is nobody's time; None where they don't.

    Attributes:
        indices: Positions in the input of the items that have ended, in the order of the report's values.
        report: What has become of them.
    """

    def __init__(self, gate: RateGate | None) -> None:
        self._gate = gate
        self.begin()

    def begin(self) -> None:
        """Begin a report."""
        self.indices: list[int] = []
        self.report = Report(-1, os.getpid(), began=clock.now(), thread=threading.get_ident())
        self._cpu = time.thread_time()
        self._seconds = 0.0

    def note(self, index: int, seconds: float) -> None:
        """Take note of an item that has ended: its value is in the report."""
        report = self.report
        self.indices.append(index)
        self._seconds += seconds
        if seconds > report.slowest_seconds:
            report.slowest_seconds, report.slowest = seconds, index
        if seconds > QUICK:
            report.slow.append((seconds, index))

    def take(self) -> tuple[list[int], Report]:
        """Return the positions and the report of what has ended, and begin the next one.

        What the items took together is what a plain loop would have taken.
        """
        indices, report = self.indices, self.report
        report.first = min(indices, default=-1)
        if self._gate is not None:
            report.rate_waited = self._gate.take_waited()
        report.seconds = max(0.0, clock.now() - report.began - report.rate_waited)
        report.cpu = time.thread_time() - self._cpu
        report.waited = max(0.0, self._seconds - report.cpu)
        report.durations, report.slow = counted(report.slow, len(report.values))
        self.begin()
        return indices, report
