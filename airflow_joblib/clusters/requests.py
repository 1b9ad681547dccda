"""Requests of workers that a channel has met: each is answered once, though it may come again."""

from __future__ import annotations

__all__ = ["SeenRequests"]

#: Of more, the oldest are forgotten.
_REMEMBERED = 100_000


class SeenRequests:
    """Remembers requests by their number."""

    def __init__(self) -> None:
        self._numbers: dict[str, None] = {}

    def is_new(self, number: str) -> bool:
        """Take note of a request, and return whether it has not been met before."""
        if number in self._numbers:
            return False
        self._numbers[number] = None
        if len(self._numbers) > _REMEMBERED:
            del self._numbers[next(iter(self._numbers))]
        return True

    def forget(self, number: str) -> None:
        """Let a request count as new again."""
        self._numbers.pop(number, None)
