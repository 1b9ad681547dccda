"""An HTTP server that takes 50 ms for each answer, and refuses what is more than 400 requests in one second.

``python -m tests.benchmarks.slow_server`` prints its address, and serves until its standard input ends. ``/report``
returns how many requests it has refused since the last one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ALLOWED", "SECONDS", "refused", "slow_server"]

ALLOWED = 400
SECONDS = 0.05

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
_REPORT = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}"


class _Bucket:
    """What came in the last second, and how many were refused."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque()
        self.refused = 0

    def takes(self) -> bool:
        """Count a request, and return whether it is answered. One that is refused is counted too."""
        now = time.monotonic()
        while self.recent and self.recent[0] <= now - 1:
            self.recent.popleft()
        self.recent.append(now)
        self.refused += len(self.recent) > ALLOWED
        return len(self.recent) <= ALLOWED


class _Connection(asyncio.Protocol):
    """One client, which sends a request when the one before is answered."""

    def __init__(self, bucket: _Bucket) -> None:
        self._bucket = bucket
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._data.endswith(b"\r\n\r\n"):
            return
        path, self._data = self._data.split(b" ", 2)[1], b""
        if path == b"/report":
            self._answer(_REPORT.format(len(str(self._bucket.refused)), self._bucket.refused).encode())
            self._transport.close()
            self._bucket.refused = 0
        elif self._bucket.takes():
            asyncio.get_running_loop().call_later(SECONDS, self._answer, _OK)
        else:
            self._answer(_REFUSED)

    def _answer(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


@contextmanager
def slow_server() -> Iterator[str]:
    """Run it; gives its address."""
    command = [sys.executable, "-m", "tests.benchmarks.slow_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def refused(url: str) -> int:
    """Return how many requests a server has refused since this was asked last."""
    with urlopen(f"{url}/report") as answer:
        return int(answer.read())


async def _serve() -> None:
    loop, bucket, over = asyncio.get_running_loop(), _Bucket(), asyncio.Event()
    server = await loop.create_server(lambda: _Connection(bucket), "127.0.0.1", 0, backlog=1000)
    loop.add_reader(sys.stdin, over.set)  # nobody writes there
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
