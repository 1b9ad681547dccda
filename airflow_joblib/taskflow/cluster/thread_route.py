"""The route of a thread's log lines to its task, from a worker of a cluster, which may serve other runs beside.

Imports no Airflow. What an item starts by :mod:`asyncio` has the same route, threads of ``asyncio.to_thread`` too.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from airflow_joblib.system import plain_json
from airflow_joblib.taskflow.logs import records
from airflow_joblib.taskflow.relay.framing import LINES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


__all__ = ["ThreadRoute", "current_route", "unpacked"]

#: Bytes of lines above which a chunk is handed back, so that they reach the task's log.
_FULL = 1 << 18
#: Bytes above which it is sent in the midst of an item, and seconds after which it is if more is logged.
_MOST, _LATEST = 1 << 20, 2.0


class Session(Protocol):
    """The session of a task's run in this process.

    Attributes:
        comms: What asks the task's supervisor.
        context: The task's context.
        levels: What of its log the task wants.
    """

    comms: Any
    context: Any
    levels: Any


class ThreadRoute:
    """What a thread of a run has: its session, and the lines that it has logged and not sent yet.

    Args:
        session: The run's session in this process.
        ask: Sends to the task's process; None where there is no channel.
    """

    def __init__(self, session: Session, ask: Callable[[bytes], bytes] | None) -> None:
        self.session = session
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
        """Whether so much was logged that it should go to the task."""
        return self._size > _FULL or bool(self._packed)

    def say(self, data: dict[str, Any]) -> None:
        """Keep a line that this thread logs, and send the lines if they are many, or old."""
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
            self.say(records.of_secret(secret, name))

    def take(self) -> list[bytes]:
        """Return, and forget, the lines."""
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
        """Send the lines; where there is no channel they wait for the chunk's end, packed if they are many."""
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
    """Yield the lines that a thread has logged, some of which may come packed."""
    for part in said:
        if part.startswith(b"{"):
            yield part
        else:
            yield from zlib.decompress(part).splitlines(keepends=True)


#: The route of the current thread; None for a thread that is not a run's.
current_route: ContextVar[ThreadRoute | None] = ContextVar("airflow_joblib_route", default=None)
