"""The relay: the task's end of the connections from its workers, for their requests and for their logs. No Airflow.

::

    worker: StandIn ──┐   requests, each answered                        ┌──► answer(frame)
    worker: StandIn ──┼──► socket, in a folder ──► Relay ──► a Peer each ─┤
    worker: Sender  ──┘   lines of the log                               └──► take(number, line)

Only the task's user may enter the folder. Each peer has a thread that answers its requests in turn, or takes its lines,
so that one that is slow, silent or dead holds nobody else up, no reply can reach another worker than the one that sent
the request, and a worker that logs faster than the task can take waits.
"""

from __future__ import annotations

import math
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
from airflow_joblib.taskflow.relay import handshake

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Relay"]

#: Seconds that a request under way gets when the relay closes.
_GRACE = 5.0
#: Seconds until the next try to take in a peer for whom there was no descriptor, or no thread.
_PAUSE = 0.05
#: Peers that may wait to be taken in; the kernel has a bound of its own.
_WAITING = 1024
#: Bytes of a log that are taken at a time.
_CHUNK = 1 << 16
_open: weakref.WeakSet[Relay] = weakref.WeakSet()


class Relay:
    """Serves worker processes while it is entered. Neither function may raise; both are called from many threads.

    Args:
        answer: Makes a frame's answer, header included.
        take: Takes a line of a log, with a number for whom it is from; None instead of a line when no more will come.

    Attributes:
        address: Path of the socket.
        key: What a peer has to prove it has.
        until: The time of the clock at which logs are taken no more.
    """

    def __init__(
        self, answer: Callable[[bytes], bytes | bytearray], take: Callable[[int, bytes | None], object]
    ) -> None:
        self.address = ""
        self.key = secrets.token_bytes(32)
        self.answer, self.take = answer, take
        self.until = math.inf
        self.peers: set[_Peer] = set()

    def __enter__(self) -> Self:
        self._folder = socket_folder.make("relay")
        try:
            self.address = str(self._folder / "relay")
            self._listener = socket.socket(socket.AF_UNIX)
            self._wake, self.woken = socket.socketpair()
            self._listener.bind(self.address)
            self._listener.listen(_WAITING)
            self._listener.setblocking(False)  # noqa: FBT003 - the method's only argument
        except BaseException:
            socket_folder.remove(self._folder)
            raise
        _open.add(self)
        self._acceptor = threading.Thread(target=self._accept, name="airflow-joblib relay", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take what workers have logged, hang up, wait for a request that is being answered, and remove the socket."""
        self.until = time.monotonic() + lines.PATIENCE  # who logs still is none of the workers, which have ended
        self._wake.send(b"\0")  # not by a shutdown of the listener, which is an error on others than Linux
        socket_folder.remove(self._folder)
        self._acceptor.join(_GRACE)  # first: it may be about to start another one
        peers = [peer for peer in tuple(self.peers) if peer.is_alive()]
        for peer in peers:
            peer.hang_up()
        until = time.monotonic() + _GRACE
        for peer in peers:
            peer.join(None if peer.logs else max(0.0, until - time.monotonic()))
        for end in (self._listener, self._wake, self.woken):
            end.close()
        _open.discard(self)

    @property
    def closed(self) -> bool:
        """Whether the run is over."""
        return self.until < math.inf

    def _accept(self) -> None:
        while not self.closed:
            wait([self._listener, self.woken])
            try:
                line, _ = self._listener.accept()
            except OSError:  # closing; or the peer was gone before, or no descriptor is left
                time.sleep(0 if self.closed else _PAUSE)
            else:
                self._take_in(line)

    def _take_in(self, line: socket.socket) -> None:
        line.setblocking(True)  # noqa: FBT003 - which it need not be, of a listener that isn't
        while not self.closed:
            peer = _Peer(self, line)
            self.peers.add(peer)
            try:
                peer.start()
            except RuntimeError:  # no thread is left
                self.peers.discard(peer)
                time.sleep(_PAUSE)
            else:
                return
        line.close()

    def _forget(self) -> None:
        """Close a fork's copies: else a peer would not see this process hang up."""
        for end in (self._listener, self._wake, self.woken, *(peer.line for peer in self.peers)):
            end.close()


class _Peer(threading.Thread):
    """Serves who has connected until it hangs up, or the run is over; whatever it does ends here.

    Attributes:
        line: The connection.
        logs: Whether what has come is taken to the end: of a peer that has proved itself and made no request.
    """

    def __init__(self, relay: Relay, line: socket.socket) -> None:
        super().__init__(name="airflow-joblib relay", daemon=True)
        self.line = line
        self.logs = False
        self._relay = relay

    def hang_up(self) -> None:
        """Wake the thread from its wait for a proof or for a request. Of a log it takes what there is, and ends."""
        if not self.logs:
            with suppress(OSError):  # not connected any more
                self.line.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Let it prove that it has the key, and serve it."""
        with self.line, suppress(OSError, EOFError):
            try:
                proof = handshake.admit(self.line, self._relay.key, lines.PATIENCE)
                self.logs = True  # before the proof: from then on it may log and end
                self.line.sendall(proof)
                self.line.settimeout(None)
                self._serve(self._received(1))
            finally:
                self._relay.peers.discard(self)

    def _serve(self, kind: bytes) -> None:
        if kind == lines.LINES:
            self._take_log()
        elif kind == lines.ASKS:
            self.logs = False
            while not self._relay.closed:
                self.line.sendall(self._relay.answer(self._request()))

    def _request(self) -> bytes:
        try:
            return lines.read_frame(self.line, lines.LIMIT, lines.STALLED)
        except lines.LongFrameError:
            self.line.shutdown(socket.SHUT_RD)  # what follows can't be told from frames; the error still goes out
            return b""

    def _take_log(self) -> None:
        number, begun = self.line.fileno(), bytearray()
        try:
            while len(begun) <= lines.LONGEST and (data := self._received(_CHUNK)):
                begun += data
                end = begun.rfind(b"\n", len(begun) - len(data)) + 1
                for line in filter(None, bytes(begun[:end]).splitlines()):
                    self._relay.take(number, line)
                del begun[:end]
        finally:
            self._relay.take(number, None)

    def _received(self, size: int) -> bytes:
        """Return what has come as soon as something has; nothing when it is over.

        Raises:
            OSError: It is over.
        """
        wait([self.line, self._relay.woken])
        return self.line.recv(size, socket.MSG_DONTWAIT) if time.monotonic() < self._relay.until else b""


def _forget_all() -> None:
    for relay in tuple(_open):
        relay._forget()  # noqa: SLF001 - this module's own


os.register_at_fork(after_in_child=_forget_all)
