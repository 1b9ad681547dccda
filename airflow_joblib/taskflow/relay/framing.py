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

from airflow_joblib.taskflow.relay import handshake

if TYPE_CHECKING:
    import socket

__all__ = ["HEADER", "LIMIT", "PEER_TIMEOUT", "STALLED", "LongFrameError", "admit", "connect", "read_frame"]

#: Bytes of the largest request: far above what the API server takes for an XCom.
LIMIT = 64 << 20
#: Seconds in which a worker has to show that it has the key, and those that it waits for the task to do so.
PEER_TIMEOUT = 10.0
_TASK_TIMEOUT = 30.0
#: Seconds for which a worker may be silent in the midst of a request, or take nothing of its answer.
STALLED = 60.0
#: Bytes of a frame that hold its length.
HEADER = 4


class LongFrameError(ValueError):
    """The other end announces more bytes than a request may have."""


def connect(address: str, key: bytes) -> socket.socket:
    """Open a line to the task's process.

    Raises:
        OSError: Nobody listens there, or whoever does hasn't the key.
        EOFError: It hung up.
    """
    return handshake.connect(address, key, _TASK_TIMEOUT)


def admit(line: socket.socket, key: bytes) -> None:
    """Let the peer of an accepted line prove that it has the key, then show it that this end has it too.

    Raises:
        OSError: It is another user's, hasn't the key, or sends nothing.
        EOFError: The peer has gone.
    """
    handshake.admit(line, key, PEER_TIMEOUT)


def read_frame(line: socket.socket, limit: int | None = None, patience: float | None = None) -> bytes:
    """Return the next frame, however long it takes until it begins; once it has, *patience* is kept with the line.

    Raises:
        LongFrameError: It has more than *limit* bytes.
        EOFError: The line was closed.
        TimeoutError: The other end has begun a frame, and then sent nothing for *patience* seconds.
    """
    line.settimeout(None)
    begun = handshake.read(line, 1)
    line.settimeout(patience)
    length = int.from_bytes(begun + handshake.read(line, HEADER - 1), "big")
    if limit is not None and length > limit:
        msg = f"A frame of {length:,} bytes was announced; {limit:,} is the most."
        raise LongFrameError(msg)
    return handshake.read(line, length)
