"""What an event loop in a thread takes chunks from, which another thread brings."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_joblib.worker.async_worker import Given

__all__ = ["ThreadFeed"]


class ThreadFeed:
    """Chunks from any thread.

    Args:
        began: Called, on the loop, when it takes the first chunk.
    """

    def __init__(self, began: Callable[[], object] = bool) -> None:
        self._began = began
        self._chunks: deque[Given | None] = deque()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: asyncio.Event | None = None

    def put(self, chunk: Given | None) -> None:
        """Bring a chunk, or None where no other follows."""
        self._chunks.append(chunk)
        with self._lock:
            if self._loop is not None and self._arrived is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._arrived.set)

    async def receive(self) -> Given | None:
        """Wait for a chunk."""
        if self._arrived is None:
            with self._lock:
                self._loop, self._arrived = asyncio.get_running_loop(), asyncio.Event()
            self._began()
        while not self._chunks:
            self._arrived.clear()
            if not self._chunks:
                await self._arrived.wait()
        return self._chunks.popleft()
