r"""The line from a worker process to the task's process. No Airflow.

::

    worker                                    task's process
      │ ◄──────────── handshake ─────────────► │
      │ ── ASKS ─────────────────────────────► │   a line for requests: one answer for each frame, in turn
      │ ── length, frame ────────────────────► │   as often as needed
      │ ◄──────────── length, frame ────────── │

      │ ── LINES ────────────────────────────► │   a line for the log
      │ ── JSON object, "\n" ────────────────► │   as often as needed

Nothing is ever unpickled from a line. Nothing is kept on the way but what the kernel's buffers hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.taskflow.relay import handshake

if TYPE_CHECKING:
    import socket

__all__ = ["ASKS", "HEADER", "LIMIT", "LINES", "LONGEST", "PATIENCE", "STALLED", "LongFrameError", "connect"]
__all__ += ["read_frame"]

#: First byte of what a worker sends, over a line as over the channel of a cluster: requests, or lines of its log.
ASKS, LINES = b"A", b"L"
#: Bytes of the largest request: far above what the API server takes for an XCom.
LIMIT = 64 << 20
#: Bytes of the longest line of a log that is taken.
LONGEST = 16 << 20
#: Seconds that each side waits for the other where it should have to wait for none.
PATIENCE = 30.0
#: Seconds for which a worker may be silent in the midst of a request, or take nothing of its answer.
STALLED = 60.0
#: Bytes of a frame that hold its length.
HEADER = 4


class LongFrameError(ValueError):
    """The other end announces more bytes than a request may have."""


def connect(address: str, key: bytes, kind: bytes = ASKS) -> socket.socket:
    """Open a line to the task's process.

    Raises:
        OSError: Nobody listens there, or whoever does hasn't the key.
        EOFError: It hung up.
    """
    line = handshake.connect(address, key, PATIENCE)
    try:
        line.sendall(kind)
    except BaseException:
        line.close()
        raise
    return line


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
