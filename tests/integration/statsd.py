"""A server for the metrics that Airflow sends to StatsD."""

from __future__ import annotations

import re
import socket
import threading
from typing import Self

__all__ = ["StatsD"]


class StatsD:
    """A StatsD server: a socket, which keeps what it is sent while it is entered."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._over.clear()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Give the port up."""
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self.lines += self._socket.recv(65536).decode().splitlines()
            except TimeoutError:
                continue

    def values(self, name: str, task_id: str) -> list[tuple[float, str]]:
        """Every value of a metric of a task, with its kind."""
        found = [re.fullmatch(rf"\w+\.{re.escape(name)},([^:]*):([\d.]+)\|(\w+)", line) for line in self.lines]
        return [(float(line[2]), line[3]) for line in found if line and f"task_id={task_id}" in line[1].split(",")]
