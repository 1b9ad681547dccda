"""The worker's end of the way of its log to the task's process. Imports no Airflow."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from airflow_joblib.taskflow.relay import framing

if TYPE_CHECKING:
    import socket

__all__ = ["Sender"]


class Sender:
    """The worker's end. Any thread may send; none ever gets an error of the channel."""

    def __init__(self, address: str, key: bytes) -> None:
        self._address = address
        self._key = key
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Start anew: in a process that an item forks too, which must not write into this one's lines."""
        self._lock = threading.RLock()  # since what is collected, or handles a signal, may log in the midst of a line
        self._waiting: deque[bytes] = deque()
        self._socket: socket.socket | None = None
        self._lost = self._busy = self._partial = False

    def connect(self) -> bool:
        """Connect, and return whether that worked."""
        try:
            self._socket = framing.connect(self._address, self._key, framing.LINES)
        except (OSError, EOFError):
            self._lost = True
        return not self._lost

    def send(self, line: bytes) -> bool:
        r"""Send a line, which ends in "\n" and has no other; wait while the task is busy. False if it can't be sent."""
        with self._lock:
            if self._lost or (self._socket is None and not self.connect()):
                return False
            self._waiting.append(line)
            if not self._busy:  # else this thread is in the midst of a line, which has to come first
                self._send_waiting()
            return not self._lost

    def _send_waiting(self) -> None:
        try:
            self._busy = True
            while self._waiting:
                self._transmit(self._waiting.popleft())
        except OSError:
            self._lost = True
        finally:
            self._busy = False

    def _transmit(self, line: bytes) -> None:
        # A signal's handler may raise between two of these. Then the line stays incomplete; the next begins on its own.
        rest = memoryview(b"\n" + line if self._partial else line)
        self._partial = True
        while rest and self._socket is not None:
            rest = rest[self._socket.send(rest) :]
        self._partial = False
