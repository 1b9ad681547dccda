"""The relay: passes on requests of worker processes that only the task's process may make. No Airflow.

It listens on a Unix socket in a folder of its own, which only the task's user may enter. Each line has a thread that
answers its requests in turn, so that a peer that is slow, silent or dead holds nobody else up, and no reply can reach
another worker than the one that sent it.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
import weakref
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Self

from airflow_joblib.system import socket_folder
from airflow_joblib.taskflow.relay import framing as lines

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Relay"]

#: Seconds that a request under way gets when the relay closes.
_GRACE = 5.0
#: Seconds until the next try to take in a peer for whom there was no descriptor, or no thread.
_PAUSE = 0.05
#: Peers that may wait to be taken in; the kernel has a bound of its own.
_WAITING = 1024
_open: weakref.WeakSet[Relay] = weakref.WeakSet()


class Relay:
    """Answers requests while it is entered.

    Args:
        answer: Makes a frame's answer, header included; must not raise. Called from many threads.

    Attributes:
        address: Path of the socket.
        key: What a peer has to prove it has.
    """

    def __init__(self, answer: Callable[[bytes], bytes | bytearray]) -> None:
        self.address = ""
        self.key = secrets.token_bytes(32)
        self._answer = answer
        self._lines: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        self._folder = socket_folder.make("relay")
        try:
            self.address = str(self._folder / "relay")
            self._listener = socket.socket(socket.AF_UNIX)
            self._wake, self._woken = socket.socketpair()
            self._listener.bind(self.address)
            self._listener.listen(_WAITING)
            self._listener.setblocking(False)  # noqa: FBT003 - the method's only argument
        except BaseException:
            socket_folder.remove(self._folder)
            raise
        _open.add(self)
        self._acceptor = self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up, wait for a request that is being answered, and remove the socket."""
        self._closed = True
        self._wake.send(b"\0")  # not by a shutdown of the listener, which is an error on others than Linux
        for end in tuple(self._lines):
            with suppress(OSError):  # not connected any more
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        socket_folder.remove(self._folder)
        until = time.monotonic() + _GRACE
        self._acceptor.join(_GRACE)  # first: it may be about to start another one
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        for end in (self._listener, self._wake, self._woken):
            end.close()
        _open.discard(self)

    def _start(self, run: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=args, name="airflow-joblib relay", daemon=True)
        thread.start()
        self._threads = [thread, *(known for known in self._threads if known.is_alive())]
        return thread

    def _accept(self) -> None:
        while not self._closed:
            wait([self._listener, self._woken])
            try:
                line, _ = self._listener.accept()
            except OSError:  # closing; or the peer was gone before, or no descriptor is left
                time.sleep(0 if self._closed else _PAUSE)
            else:
                self._take_in(line)

    def _take_in(self, line: socket.socket) -> None:
        line.setblocking(True)  # noqa: FBT003 - which it need not be, of a listener that isn't
        self._lines.add(line)
        try:
            if not self._closed:
                self._start(self._serve, line)
                return
        except RuntimeError:  # no thread is left
            time.sleep(_PAUSE)
        self._lines.discard(line)
        line.close()

    def _serve(self, line: socket.socket) -> None:
        """Answer one peer until it hangs up; whatever it does ends here."""
        with line, suppress(OSError, EOFError):
            try:
                lines.admit(line, self.key)
                while not self._closed:
                    line.sendall(self._answer(_request(line)))
            finally:
                self._lines.discard(line)

    def _forget(self) -> None:
        """Close a fork's copies: else a peer would not see this process hang up."""
        for end in (self._listener, self._wake, self._woken, *self._lines):
            end.close()


def _request(line: socket.socket) -> bytes:
    try:
        return lines.read_frame(line, lines.LIMIT, lines.STALLED)
    except lines.LongFrameError:
        line.shutdown(socket.SHUT_RD)  # what follows can't be distinguished from frames; the error still goes out
        return b""


def _forget_all() -> None:
    for relay in tuple(_open):
        relay._forget()  # noqa: SLF001 - this module's own


os.register_at_fork(after_in_child=_forget_all)
