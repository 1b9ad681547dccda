"""How a worker's process and the task's prove to each other, over a Unix socket, that they are of one run. No Airflow.

::

    worker                                    task's process
      │ ◄──────────── nonce ────────────────── │   the peer's user is this user, by the kernel
      │ ── nonce, mac(key, "worker") ────────► │   a wrong one: the line is closed
      │ ◄──────────── mac(key, "task") ─────── │

The key is random, made for one run, and travels in what the pool's own pipes bring to a worker: in no file, argument
or environment.
"""

from __future__ import annotations

import errno
import hmac
import os
import random
import secrets
import socket
import struct
import sys
import time

__all__ = ["NONCE", "admit", "connect", "read"]

#: Bytes of what each side sends the other to be proven, and of the proof.
NONCE = 32
#: What a connection ends in while as many others wait to be taken in as the kernel lets wait.
_CROWDED = {errno.EAGAIN} | ({errno.ECONNREFUSED} if sys.platform == "darwin" else set())
#: Seconds until the next try then.
_PAUSE = 0.02


def connect(address: str, key: bytes, patience: float) -> socket.socket:
    """Open a line to the task's process; the other end has *patience* seconds for each step.

    Raises:
        OSError: Nobody listens there, or whoever does hasn't the key.
        EOFError: It hung up.
    """
    line = _open(address, patience)
    try:
        nonces = read(line, NONCE) + (ours := secrets.token_bytes(NONCE))
        line.sendall(ours + _mac(key, b"worker", nonces))
        _check(read(line, NONCE), _mac(key, b"task", nonces))
        line.settimeout(None)
    except BaseException:
        line.close()
        raise
    return line


def _open(address: str, patience: float) -> socket.socket:
    """Connect. A socket with a timeout is not kept waiting for its turn: connect() fails at once if others wait."""
    until = time.monotonic() + patience
    while True:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(patience)
        try:
            line.connect(address)
        except OSError as error:
            line.close()
            if error.errno not in _CROWDED or time.monotonic() > until:
                raise
            time.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - lest all come again at once
        else:
            return line


def admit(line: socket.socket, key: bytes, patience: float) -> bytes:
    """Let the peer of an accepted line prove that it has the key; return what, sent to it, proves that this end has it.

    Raises:
        OSError: It is another user's, hasn't the key, or sends nothing for *patience* seconds.
        EOFError: The peer has gone.
    """
    _check_user(line)
    line.settimeout(patience)
    nonce = secrets.token_bytes(NONCE)
    line.sendall(nonce)
    nonces = nonce + read(line, NONCE)
    _check(read(line, NONCE), _mac(key, b"worker", nonces))
    return _mac(key, b"task", nonces)


def _check_user(line: socket.socket) -> None:
    """Go by what the kernel reports of the peer; where it can't, the folder's mode has seen to it.

    Raises:
        PermissionError: It belongs to another user.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return
    _pid, user, _group = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    if user != os.geteuid():
        raise PermissionError("the other end belongs to another user")


def read(line: socket.socket, size: int) -> bytes:
    """Read *size* bytes; memory grows with what has come, not with what was announced.

    Raises:
        EOFError: The other end has hung up.
    """
    found = bytearray()
    while len(found) < size:
        part = line.recv(min(size - len(found), 1 << 18))
        if not part:
            raise EOFError("The other end has closed the line.")
        found += part
    return bytes(found)


def _check(mac: bytes, right: bytes) -> None:
    if not hmac.compare_digest(mac, right):
        raise PermissionError("the other end doesn't have the key of this run")


def _mac(key: bytes, side: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, side + nonces, "sha256")
