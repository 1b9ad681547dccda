"""The line from a worker process to the task's process: frames, and a handshake that proves both ends. No Airflow.

::

    worker                                    task's process
      │ ◄──────────── nonce ────────────────── │   the peer's user is this user, says the kernel
      │ ── nonce, mac(key, "worker") ────────► │   a wrong one: the line is closed
      │ ◄──────────── mac(key, "relay") ────── │
      │ ── length, frame ────────────────────► │   as often as needed, one answer for each frame,
      │ ◄──────────── length, frame ────────── │   in turn

The key is random, made for one run, and travels in what the pool's own pipes bring to a worker: in no file, argument
or environment. Nothing is ever unpickled from a line.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import struct

__all__ = ["LIMIT", "PEER_TIMEOUT", "LongFrameError", "admit", "connect", "read_frame"]

#: Bytes of the largest request: far above what the API server takes for an XCom.
LIMIT = 64 << 20
#: Seconds in which either end has to show that it has the key.
PEER_TIMEOUT = 10.0
_NONCE = 32
_MAC = 32
_HEADER = 4


class LongFrameError(ValueError):
    """The other end announces more bytes than a request may have."""


def connect(address: str, key: bytes) -> socket.socket:
    """Open a line to the task's process.

    Raises:
        OSError: Nobody listens there, or whoever does hasn't the key.
        EOFError: It hung up.
    """
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(PEER_TIMEOUT)
        line.connect(address)
        nonces = _read(line, _NONCE), secrets.token_bytes(_NONCE)
        line.sendall(nonces[1] + _mac(key, b"worker", *nonces))
        _check(_read(line, _MAC), _mac(key, b"relay", *nonces))
        line.settimeout(None)
    except BaseException:
        line.close()
        raise
    return line


def _check(mac: bytes, right: bytes) -> None:
    if not hmac.compare_digest(mac, right):
        raise PermissionError("the other end doesn't have the key of this run")


def admit(line: socket.socket, key: bytes) -> None:
    """Let the peer of an accepted line prove that it has the key, then show it that this end has it too.

    Raises:
        OSError: It is another user's, hasn't the key, or says nothing.
        EOFError: The peer has gone.
    """
    _check_user(line)
    line.settimeout(PEER_TIMEOUT)
    nonce = secrets.token_bytes(_NONCE)
    line.sendall(nonce)
    nonces = nonce, _read(line, _NONCE)
    _check(_read(line, _MAC), _mac(key, b"worker", *nonces))
    line.sendall(_mac(key, b"relay", *nonces))
    line.settimeout(None)


def _check_user(line: socket.socket) -> None:
    """Go by what the kernel says of the peer."""
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, user, _group = struct.unpack("3i", credentials)
    if user != os.geteuid():
        raise PermissionError("the other end belongs to another user")


def read_frame(line: socket.socket, limit: int | None = None) -> bytes:
    """Return the next frame.

    Raises:
        LongFrameError: It has more than *limit* bytes.
        EOFError: The line was closed.
    """
    length = int.from_bytes(_read(line, _HEADER), "big")
    if limit is not None and length > limit:
        msg = f"A frame of {length:,} bytes was announced; {limit:,} is the most."
        raise LongFrameError(msg)
    return _read(line, length)


def _read(line: socket.socket, size: int) -> bytes:
    """Read *size* bytes; memory grows with what has come, not with what was announced."""
    found = bytearray()
    while len(found) < size:
        part = line.recv(min(size - len(found), 1 << 18))
        if not part:
            raise EOFError("The other end has closed the line.")
        found += part
    return bytes(found)


def _mac(key: bytes, side: bytes, *nonces: bytes) -> bytes:
    return hmac.digest(key, side + b"".join(nonces), "sha256")
