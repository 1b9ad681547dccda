r"""Lines from worker processes to the task's process. Imports no Airflow.

::

    worker: Sender ──┐   a line is a JSON object and "\n"
    worker: Sender ──┼──► socket, in a folder of the task's own ──► Receiver, a thread ──► handle(line)
    worker: Sender ──┘

Nothing is kept on the way but what the kernel's buffers hold: a worker that writes faster than the task can take waits.
Nothing is unpickled. Who connects must be of the same user, and know the key, as must the task.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import threading
from collections import deque

__all__ = ["LONGEST", "NONCE", "PATIENCE", "Sender", "check", "proof"]

#: Bytes of the longest line that is taken.
LONGEST = 16 << 20
#: Bytes of what each side sends the other to be proven.
NONCE = 32
#: Seconds that each side waits for the other where it should have to wait for none.
PATIENCE = 30.0


def proof(key: bytes, side: bytes, nonces: bytes) -> bytes:
    """Return what shows that a side knows the key."""
    return hmac.digest(key, side + nonces, "sha256")


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
        self._lost = self._busy = self._torn = False

    def connect(self) -> bool:
        """Connect, and tell whether that worked."""
        try:
            self._socket = self._connected()
        except OSError:
            self._lost = True
        return not self._lost

    def _connected(self) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(PATIENCE)
            channel.connect(self._address)
            nonces = _exactly(channel, NONCE) + (ours := secrets.token_bytes(NONCE))
            channel.sendall(ours + proof(self._key, b"worker", nonces))
            check(_exactly(channel, NONCE), proof(self._key, b"task", nonces))
            channel.settimeout(None)
        except BaseException:
            channel.close()
            raise
        return channel

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
        # A signal's handler may raise between two of these. Then the line stays torn, and the next begins on its own.
        rest = memoryview(b"\n" + line if self._torn else line)
        self._torn = True
        while rest and self._socket is not None:
            rest = rest[self._socket.send(rest) :]
        self._torn = False


def check(given: bytes, proof: bytes) -> None:
    """Check what a side has shown.

    Raises:
        ConnectionRefusedError: It does not know the key.
    """
    if not hmac.compare_digest(given, proof):
        raise ConnectionRefusedError


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data
