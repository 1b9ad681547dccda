"""Where every worker process notes which item it runs, so that the task knows when the worker can't report any more.

One row a worker, in memory shared with the task; to write a number there costs a worker some 30 ns an item::

    head   claimed rows │ halt │ from when on the next item may start by the rate, in ns of the monotonic clock
    row    pid │ index + 1 of the item, 0 for none, negative for a whole chunk │ since, in ns of the monotonic clock
           │ what it does about its resources
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from airflow_joblib.system.shared_memory import SharedMemory, attach, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["INDEX", "RESOURCES", "SINCE", "Held", "Running", "Slot", "StatusBoard"]

_WIDTH = 4
#: Rows; one is claimed by every worker process that starts, over the whole life of a pool.
_ROWS = 4096
_CLAIMED, _HALT, _NEXT_START = 0, 1, 2
_PID = 0
#: Places in a row.
INDEX, SINCE, RESOURCES = 1, 2, 3


class Held(IntEnum):
    """What a worker does about its ``per_worker`` resources.

    With ``LEFT`` and ``LOST`` it has done what it had to do, and may be killed: what it printed is out as well.
    """

    NONE = 0
    HELD = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4
    LOST = 5


class Running(NamedTuple):
    """The item that a worker runs: its position in the input, and since when, in nanoseconds.

    Where *whole* is true no item runs: the chunk that begins there is loaded, or its report is pickled.
    """

    item: int
    since: int
    whole: bool = False


class StatusBoard:
    """The task's view. A context manager.

    Args:
        by_path: Whether workers must find it by its path, as they can't be given a descriptor.
    """

    def __init__(self, *, by_path: bool = False) -> None:
        self._shared = SharedMemory(8 * _WIDTH * (_ROWS + 1), by_path=by_path)
        self._cells = memoryview(self._shared.memory).cast("q")
        self.path = self._shared.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cells.release()
        self._shared.memory.close()
        self._shared.close()

    def running(self) -> dict[int, Running]:
        """Return what runs now, by process id; workers between two chunks are not in it."""
        return {
            self._cells[row + _PID]: Running(abs(cell) - 1, self._cells[row + SINCE], cell < 0)
            for row in self._rows()
            if (cell := self._cells[row + INDEX])
        }

    def started(self) -> set[int]:
        """Return the process ids of the workers that have begun, be they idle or gone."""
        return {self._cells[row + _PID] for row in self._rows()}

    def leaving(self) -> set[int]:
        """Return the process ids of the workers that have begun to leave their resources, or have done so."""
        return self._pids(Held.LEAVING, Held.LEFT, Held.FAILED, Held.LOST)

    def left(self) -> set[int]:
        """Return the process ids of the workers that have done with their resources, well or not."""
        return self._pids(Held.LEFT, Held.LOST)

    def not_left(self) -> set[int]:
        """Return the process ids of the workers that hold resources still, or failed to leave them."""
        return self._pids(Held.HELD, Held.LEAVING, Held.FAILED, Held.LOST)

    def forget(self, pid: int) -> None:
        """Count what a worker that has died held no longer: its end was reported with the item that it ran."""
        for row in self._rows():
            if self._cells[row + _PID] == pid:
                self._cells[row + RESOURCES] = Held.NONE

    def _pids(self, *states: Held) -> set[int]:
        return {self._cells[row + _PID] for row in self._rows() if self._cells[row + RESOURCES] in states}

    def _rows(self) -> range:
        return range(_WIDTH, _WIDTH * (min(self._cells[_CLAIMED], _ROWS) + 1), _WIDTH)

    @property
    def next_start(self) -> int:
        """How far the rate is used up (:mod:`airflow_joblib.worker.rate_limit`)."""
        return self._cells[_NEXT_START]

    @next_start.setter
    def next_start(self, at: int) -> None:
        """Let workers go on where those of an earlier board were; to be set before they begin."""
        self._cells[_NEXT_START] = at

    def halt(self, *, on: bool = True) -> None:
        """Ask every worker to start no further item and to hand back what it has; or, with *on* False, no longer."""
        self._cells[_HALT] = on


class Slot:
    """A worker's view: its own row, and the common flag.

    Attributes:
        row: Four integers, to be written in place.
        shared: Whether the task and other workers see it.
    """

    def __init__(self, path: str = "") -> None:
        """Claim a row of the board at *path*; without one, or where it can't be reached, a row that nobody reads."""
        self._head = memoryview(bytearray(8 * _WIDTH)).cast("q")
        self.row = memoryview(bytearray(8 * _WIDTH)).cast("q")
        self.shared = False
        self._path = path
        self._lock = threading.Lock()
        self._file = -1
        if path:
            self._claim(path)
        self.row[_PID] = os.getpid()

    def _claim(self, path: str) -> None:
        try:
            cells = memoryview(attach(path, writable=True)).cast("q")
        except OSError:  # another machine, or the task has ended
            return
        file = opened(path, os.O_RDWR)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX, 8, 8 * _CLAIMED)
            number = cells[_CLAIMED] = cells[_CLAIMED] + 1
        finally:
            os.close(file)  # which lets go of the lock
        self.shared = True
        self._head = cells[:_WIDTH]
        if number <= _ROWS:
            self.row = cells[_WIDTH * number : _WIDTH * (number + 1)]

    @contextmanager
    def next_start(self) -> Iterator[memoryview]:
        """Give the cell of the board that has the next start, which no other worker reads or writes meanwhile.

        The lock is the process's, and ends with it, however that comes about. Closing any descriptor of the board would
        end it as well, so one is kept.
        """
        with self._lock:
            if self.shared and self._file < 0:
                self._file = opened(self._path, os.O_RDWR)
                weakref.finalize(self, os.close, self._file)
            try:
                self._lock_start(fcntl.LOCK_EX)
                yield self._head[_NEXT_START : _NEXT_START + 1]
            finally:
                self._lock_start(fcntl.LOCK_UN)

    def _lock_start(self, how: int) -> None:
        if self._file >= 0:
            fcntl.lockf(self._file, how, 8, 8 * _NEXT_START)

    @contextmanager
    def with_chunk(self, first: int) -> Iterator[None]:
        """Show that this worker loads or reports the whole chunk that begins with item *first*."""
        self.row[INDEX] = -(first + 1)
        try:
            yield
        finally:
            self.row[INDEX] = 0

    @property
    def halted(self) -> bool:
        """Whether no further item may start."""
        return bool(self._head[_HALT])

    def halt(self) -> None:
        """Ask every worker to start no further item."""
        self._head[_HALT] = 1
