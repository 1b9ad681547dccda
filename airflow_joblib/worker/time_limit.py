"""End a try of an item that takes too long, from within its own process.

In a main thread, which is where worker processes run items, a timer's signal ends Python code and system calls at
once. In any other thread an exception is set from outside (``PyThreadState_SetAsyncExc``), which Python raises before
its next instruction: not while a call into C or the system lasts. What neither can end is up to the task, which ends
the worker process.
"""

from __future__ import annotations

import ctypes
import math
import queue
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ItemTimeoutError
from airflow_joblib.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["limited", "raise_in"]

_NOTHING = object()


def limited(function: Callable[[Any], Any], seconds: float | None) -> Callable[[Any], Any]:
    """Return *function* so that a call raises ItemTimeoutError after *seconds*; itself for None.

    The limit holds in the thread that calls this.
    """
    if seconds is None:
        return function
    if threading.current_thread() is threading.main_thread():
        return lambda item: _in_main_thread(function, item, seconds)
    return lambda item: _in_other_thread(function, item, seconds)


def _in_main_thread(function: Callable[[Any], Any], item: Any, seconds: float) -> Any:
    """Call *function* with an alarm, which raises once at most: in all but the outer ``finally``."""
    alarm = _Alarm(seconds)
    try:
        try:
            alarm.set()
            return function(item)
        finally:
            alarm.armed = False
    finally:
        alarm.clear()


class _Alarm:
    """A timer for the main thread, which lets one that was set before go on, as Airflow's ``execution_timeout``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._set = self.armed = False

    def set(self) -> None:
        """Start the timer, unless one that was set before comes first: that one ends more than the item."""
        self._began = clock.now()
        self._left, self._interval = signal.getitimer(signal.ITIMER_REAL)
        self._before: Any = signal.getsignal(signal.SIGALRM)
        self._set = not 0 < self._left < self._seconds
        if self._set:
            self.armed = True
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def clear(self) -> None:
        """Stop the timer, and let the one that was set before go on."""
        if not self._set:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._left:
            passed = clock.now() - self._began
            signal.setitimer(signal.ITIMER_REAL, max(self._left - passed, 1e-6), self._interval)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise ItemTimeoutError(self._seconds)


def _in_other_thread(function: Callable[[Any], Any], item: Any, seconds: float) -> Any:
    """Call *function* with a deadline, which raises once at most, and keep a value that is there by then."""
    deadline = _Deadline(seconds)
    value = _NOTHING
    try:
        try:
            _timer.add(deadline)
            value = function(item)
        finally:
            _timer.remove(deadline)
    except ItemTimeoutError as error:
        _timer.remove(deadline)  # once more, since it may be what was cut short
        if value is _NOTHING:
            error.seconds = error.seconds or seconds
            raise
    return value


class _Deadline:
    """When a call in this thread must have ended."""

    def __init__(self, seconds: float) -> None:
        self.due = clock.now() + seconds
        self.thread = threading.get_ident()
        self.passed = False


class _DeadlineTimer:
    """Watches deadlines, in a thread that is started with the first.

    What it raises in a thread may come while that thread adds or removes a deadline. So no part of this is held by
    what is written in Python, as a Condition is, which an exception could leave locked for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._deadlines: set[_Deadline] = set()
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    def add(self, deadline: _Deadline) -> None:
        with self._lock:
            self._deadlines.add(deadline)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._run, name="item_timeout", daemon=True)
                self._thread.start()
            if deadline.due < self._wakes:
                self._calls.put(None)

    def remove(self, deadline: _Deadline) -> None:
        with self._lock:
            self._deadlines.discard(deadline)
            if deadline.passed:  # a call that came back at that very moment is not to be ended any more
                raise_in(deadline.thread, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                now = clock.now()
                for deadline in [each for each in self._deadlines if each.due <= now]:
                    self._deadlines.discard(deadline)
                    deadline.passed = True
                    raise_in(deadline.thread, ItemTimeoutError)
                self._wakes = min((each.due for each in self._deadlines), default=math.inf)
            with suppress(queue.Empty):
                self._calls.get(timeout=None if self._wakes == math.inf else max(0.0, self._wakes - now))


def raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Let *error* be raised in a thread before its next instruction; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


_timer = _DeadlineTimer()
