"""A thread of a run in a worker of a cluster, which may serve other runs beside, and what that thread says.

Imports no Airflow. What an item starts by :mod:`asyncio`, threads of ``asyncio.to_thread`` among it, sits there too.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import plain_json
from airflow_joblib.taskflow.logs import records
from airflow_joblib.worker.worker import current_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_joblib.taskflow.cluster.worker_side import TaskGuest

__all__ = ["LINES", "Seat", "here", "unpacked"]

#: First byte of a request that brings lines of the log.
LINES = b"L"
#: Bytes of what was said above which a chunk is handed back, so that it reaches the task's log.
_FULL = 1 << 18
#: Bytes above which it is sent in the midst of an item, and seconds after which it is if more is said.
_MOST, _LATEST = 1 << 20, 2.0


class Seat:
    """What a thread of a run has.

    Args:
        guest: The run.
        ask: Sends to the task's process; None where there is no channel.
    """

    def __init__(self, guest: TaskGuest, ask: Callable[[bytes], bytes] | None) -> None:
        self.guest = guest
        self._ask = ask
        self._number = (os.getpid(), threading.get_ident())
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._packed: list[bytes] = []
        self._size = 0
        self._since = 0.0
        self._sending = False
        self._masked: set[tuple[str, str | None]] = set()

    @property
    def full(self) -> bool:
        """Whether so much was said that it should go to the task."""
        return self._size > _FULL or bool(self._packed)

    def say(self, **data: Any) -> None:
        """Keep what this thread says, or send it if that is much, or old."""
        index = current_item()
        if index is not None:
            data["item"] = index
        line = records.encode(data)
        with self._lock:
            if not self._lines:
                self._since = time.monotonic()
            self._lines.append(line)
            self._size += len(line)
            due = self._size > _MOST or time.monotonic() - self._since > _LATEST
        if due:
            self.flush()

    def mask(self, secret: str, name: str | None) -> None:
        """Have the task mask a text in all that follows in its log."""
        if (secret, name) not in self._masked:
            self._masked.add((secret, name))
            self.say(kind="secret", secret=secret, name=name)

    def take(self) -> list[bytes]:
        """Return, and forget, what was said."""
        with self._lock:
            lines, self._lines, self._packed, self._size = [*self._packed, *self._lines], [], [], 0
            return lines

    def _pack(self) -> None:
        """Let an item that floods its log use less memory; packed, lines are small."""
        with self._lock:
            if self._size > _MOST:
                self._packed.append(zlib.compress(b"".join(self._lines), 1))
                self._lines, self._size = [], 0

    def flush(self) -> None:
        """Send what was said; where there is no channel, it waits for the chunk's end, packed if it is much."""
        if self._ask is None:
            self._pack()
            return
        if self._sending:  # the channel itself may log
            return
        self._sending = True
        try:
            with self._lock:
                lines = self.take()
                if lines:
                    self._ask(LINES + plain_json.dumps(self._number).encode() + b"\n" + b"".join(lines))
        except Exception:  # noqa: BLE001, S110 - nobody is left to read it
            pass
        finally:
            self._sending = False


def unpacked(said: Iterable[bytes]) -> Iterator[bytes]:
    """Give the lines of what a thread has said, some of which may come packed."""
    for part in said:
        if part.startswith(b"{"):
            yield part
        else:
            yield from zlib.decompress(part).splitlines(keepends=True)


#: The seat of the thread that runs; None for all that are none of a run.
here: ContextVar[Seat | None] = ContextVar("airflow_joblib_seat", default=None)
