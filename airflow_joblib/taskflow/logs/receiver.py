"""The task's end of the channel that workers send their logs through. Imports no Airflow."""

from __future__ import annotations

import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

from airflow_joblib.system import socket_folder
from airflow_joblib.taskflow.logs.sender import LONGEST, PATIENCE
from airflow_joblib.taskflow.relay import handshake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Receiver", "close_inherited"]

_CHUNK = 1 << 16
#: Workers that may wait to be taken in; the kernel has a bound of its own.
_WAITING = 1024
#: Seconds until the next try to take one in for whom there was no descriptor.
_PAUSE = 0.05


class _Connection:
    """One worker, as the task sees it."""

    def __init__(self, channel: socket.socket, key: bytes) -> None:
        self.socket = channel
        self.known = False
        self.since = time.monotonic()
        self._key = key
        self._nonce = secrets.token_bytes(handshake.NONCE)
        self._buffer = bytearray()
        channel.send(self._nonce)

    def read(self) -> list[bytes]:
        """Return the lines that have come.

        Raises:
            EOFError: It is over.
            OSError: The same, or who has connected is no worker.
        """
        data = self.socket.recv(_CHUNK)
        if not data:
            raise EOFError
        start = len(self._buffer)
        self._buffer += data
        if not self.known:
            return self._authenticate()
        return self._lines(start)

    def _authenticate(self) -> list[bytes]:
        if len(self._buffer) < handshake.SAID:
            return []
        proof = handshake.answer(self._key, self._nonce, bytes(self._buffer[: handshake.SAID]))
        del self._buffer[: handshake.SAID]
        self.known = True
        self.socket.send(proof)
        return self._lines(0)

    def _lines(self, start: int) -> list[bytes]:
        end = self._buffer.rfind(b"\n", start)
        if end < 0 and len(self._buffer) > LONGEST:
            raise EOFError
        lines = bytes(self._buffer[: end + 1]).splitlines()
        del self._buffer[: end + 1]
        return lines


class Receiver:
    """The task's end: a thread that hands every line to *handle*, with a number for whom it is from. A context manager.

    Args:
        handle: Takes the number and the line; None instead of a line when that worker sends no more.
    """

    def __init__(self, handle: Callable[[int, bytes | None], None]) -> None:
        self.key = secrets.token_bytes(32)
        self._handle = handle
        self._closing = False
        self._folder = socket_folder.make("s")
        self.address = str(self._folder / "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake, self._woken = socket.socketpair()
        self._connections: dict[int, _Connection] = {}
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="worker-logs", daemon=True)

    def __enter__(self) -> Receiver:  # noqa: PYI034 - not made to be derived from
        self._listener.bind(self.address)
        self._listener.listen(_WAITING)
        self._listener.setblocking(False)  # noqa: FBT003 - the method's only argument
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        _of_this_process.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take what the workers, who have ended, have sent, and close."""
        try:
            self._closing = True
            with suppress(OSError):  # the thread was awake, has seen it already and closed
                self._wake.send(b"\0")
            self._thread.join()
        finally:
            _of_this_process.remove(self)
            socket_folder.remove(self._folder)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._serve(1.0)
            until = time.monotonic() + PATIENCE  # what sends still is none of the workers
            while time.monotonic() < until and self._serve(0):
                pass
        finally:
            for number in list(self._connections):
                self._drop(number)
            self.close()

    def _serve(self, timeout: float) -> bool:
        """Take what is there, and return whether something was."""
        taken = [self._take(key.fd) for key, _ in self._selector.select(timeout)]
        self._drop_idlers()
        return any(taken)

    def _take(self, number: int) -> bool:
        if number == self._listener.fileno():
            return self._accept()
        if number == self._woken.fileno():
            self._woken.recv(1)
        else:
            self._read(number)
        return True

    def _accept(self) -> bool:
        try:
            self._take_in(self._listener.accept()[0])
        except OSError:  # who has connected has gone; or no descriptor is left, and it knocks on
            time.sleep(_PAUSE)
            return False
        return True

    def _take_in(self, channel: socket.socket) -> None:
        try:
            channel.setblocking(True)  # noqa: FBT003 - which it need not be, of a listener that isn't
            handshake.check_user(channel)
            self._connections[channel.fileno()] = _Connection(channel, self.key)
        except OSError:
            channel.close()
            raise
        self._selector.register(channel, selectors.EVENT_READ)

    def _read(self, number: int) -> None:
        try:
            lines = self._connections[number].read()
        except (OSError, EOFError):
            self._drop(number)
            return
        for line in filter(None, lines):
            self._hand_over(number, line)

    def _hand_over(self, number: int, line: bytes | None) -> None:
        try:
            self._handle(number, line)
        except Exception as error:  # noqa: BLE001 - one bad line must not end the others' way
            with suppress(Exception):
                sys.stderr.write(f"A line of a worker's log is lost: {error!r}\n")

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._hand_over(number, None)

    def _drop_idlers(self) -> None:
        """Drop those who have not shown that they know the key."""
        before = time.monotonic() - PATIENCE
        for number, connection in list(self._connections.items()):
            if not connection.known and connection.since < before:
                self._drop(number)

    def close(self) -> None:
        """Close all descriptors; in a forked process its copies, so that a worker never holds another's line open."""
        for channel in (
            self._listener,
            self._wake,
            self._woken,
            *(known.socket for known in self._connections.values()),
        ):
            channel.close()
        self._selector.close()


#: The receivers that run in this process.
_of_this_process: list[Receiver] = []


def close_inherited() -> None:
    """Close what a forked process has inherited of receivers."""
    for receiver in _inherited():
        receiver.close()


def _inherited() -> Iterator[Receiver]:
    while _of_this_process:
        yield _of_this_process.pop()
