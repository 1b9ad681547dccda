"""The line from a worker process to the task's process, for requests: one answer for each frame, in turn. No Airflow.

::

    worker                                    task's process
      │ ◄──────────── handshake ─────────────► │
      │ ── length, frame ────────────────────► │   as often as needed
      │ ◄──────────── length, frame ────────── │

Nothing is ever unpickled from a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.taskflow import handshake

if TYPE_CHECKING:
    import socket

__all__ = ["HEADER", "LIMIT", "PEER_TIMEOUT", "LongFrameError", "admit", "connect", "read_frame"]

#: Bytes of the largest request: far above what the API server takes for an XCom.
LIMIT = 64 << 20
#: Seconds in which either end has to show that it has the key.
PEER_TIMEOUT = 10.0
#: Bytes of a frame that say its length.
HEADER = 4


class LongFrameError(ValueError):
    """The other end announces more bytes than a request may have."""


def connect(address: str, key: bytes) -> socket.socket:
    """Open a line to the task's process.

    Raises:
        OSError: Nobody listens there, or whoever does hasn't the key.
        EOFError: It hung up.
    """
    return handshake.connect(address, key, PEER_TIMEOUT)


def admit(line: socket.socket, key: bytes) -> None:
    """Let the peer of an accepted line prove that it has the key, then show it that this end has it too.

    Raises:
        OSError: It is another user's, hasn't the key, or says nothing.
        EOFError: The peer has gone.
    """
    handshake.admit(line, key, PEER_TIMEOUT)


def read_frame(line: socket.socket, limit: int | None = None) -> bytes:
    """Return the next frame.

    Raises:
        LongFrameError: It has more than *limit* bytes.
        EOFError: The line was closed.
    """
    length = int.from_bytes(handshake.read(line, HEADER), "big")
    if limit is not None and length > limit:
        msg = f"A frame of {length:,} bytes was announced; {limit:,} is the most."
        raise LongFrameError(msg)
    return handshake.read(line, length)
