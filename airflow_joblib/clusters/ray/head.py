"""Whether a Ray cluster's head is still there."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import ray

__all__ = ["LOOK", "Head"]

#: Seconds between two looks.
LOOK = 1.0
#: Seconds of one look, and for which it may be away.
_PROBE, _AWAY = 1.0, 3.0


class Head:
    """Looks whether the cluster's head is there: Ray itself would wait for it for a minute, then end the process.

    Args:
        address: The one that this process has connected to; None where that is not known.
    """

    def __init__(self, address: str | None) -> None:
        client = ray.util.client.ray.is_connected()
        # Of a client that the task has connected itself it is not known where to look.
        known = address if client else ray.get_runtime_context().gcs_address
        parts = urlsplit(known if "//" in str(known) else f"//{known}")
        self._place = (str(parts.hostname), int(parts.port)) if parts.hostname and parts.port else None
        self._looked = time.monotonic()
        self._away: float | None = None
        self._why = ""

    def why_gone(self) -> str | None:
        """Return why it is gone, or None."""
        if not ray.is_initialized():
            return "the connection is closed"
        now = time.monotonic()
        if self._place is not None and now - self._looked >= LOOK:
            self._look(self._place)
            self._looked = time.monotonic()
        return None if self._away is None or self._looked - self._away < _AWAY else self._why

    def _look(self, place: tuple[str, int]) -> None:
        try:
            socket.create_connection(place, _PROBE).close()
        except OSError as error:
            self._why = f"its head doesn't answer ({error})"
            if self._away is None:
                self._away = time.monotonic()
        else:
            self._away = None
