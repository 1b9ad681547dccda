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

__all__ = ["Collector", "TimeTold"]


class TimeTold:
    """What the reports of one worker have told of its time, so that none tells it again.

    Attributes:
        until: Until when, by the machine's monotonic clock in seconds.
        cpu: Until what processor time of the worker's thread.
    """

    until = cpu = 0.0


class Collector:
    """Makes reports of items that end in any order.

    Args:
        gate: Where items wait for the rate, which is nobody's time; None where they don't.
        told: What other reports of the same worker have told.

    Attributes:
        indices: Positions in the input of the items that have ended, in the order of the report's values.
        seconds: How long each took.
        report: What has become of them.
    """

    def __init__(self, gate: RateGate | None, told: TimeTold) -> None:
        self._gate = gate
        self._told = told
        self.begin()

    def begin(self) -> None:
        """Begin a report."""
        self.indices: list[int] = []
        self.seconds: list[float] = []
        self.report = Report(-1, os.getpid(), began=clock.now(), thread=threading.get_ident())
        self._cpu = time.thread_time()

    def add(self, index: int, value: object, seconds: float) -> None:
        """Enter an item that has ended well."""
        self.report.values.append(value)
        self.note(index, seconds)

    def note(self, index: int, seconds: float) -> None:
        """Enter that an item has ended, whose value or failure the report has."""
        if self._gate is not None and not self.indices:
            self.report.rate_waited_first = self._gate.waited
        self.indices.append(index)
        self.seconds.append(seconds)

    def take(self, oldest: Collector | None = None) -> tuple[list[int], Report]:
        """Return the positions and the report of what has ended, and begin the next one.

        What the items took together is what a plain loop would have taken.

        Args:
            oldest: That of the items that run beside these for the longest time, which has not been told either.
        """
        indices, report, told, first = self.indices, self.report, self._told, oldest or self
        report.began, cpu = max(first.report.began, told.until), max(first._cpu, told.cpu)  # noqa: SLF001
        told.until, told.cpu = clock.now(), time.thread_time()
        report.first = min(indices, default=-1)
        if self._gate is not None:
            report.rate_waited = self._gate.take_waited()
        report.seconds = max(0.0, told.until - report.began - report.rate_waited)
        report.cpu = told.cpu - cpu
        report.waited = max(0.0, sum(self.seconds) - report.cpu)
        if indices:
            report.slowest_seconds, report.slowest = max(zip(self.seconds, indices, strict=True))
        slow = [(each, index) for each, index in zip(self.seconds, indices, strict=True) if each > QUICK]
        report.durations, report.slow = counted(slow, len(report.values))
        self.begin()
        return indices, report
