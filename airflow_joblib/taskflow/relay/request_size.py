"""How many values a message has, counted without making any of them. Imports no Airflow.

A value takes 64 times the memory of its byte in a message, so that a bound of the bytes alone is none.
"""

from __future__ import annotations

__all__ = ["has_more_values"]

#: By the first byte of a value of msgpack: the bytes that follow, and those that hold a length, with a constant to add.
_FIXED = {0xC0: 0, 0xC1: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8} | dict(
    zip(range(0xCC, 0xD9), (1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17), strict=True)
)
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)} | {
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
#: The bytes that hold how many values follow, and how many each of those stands for.
_HOLDS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def has_more_values(message: bytes, most: int) -> bool:
    """Return whether a message of msgpack has more than *most* values, or announces so many.

    Raises:
        IndexError: It ends before its last value does.
    """
    if len(message) <= most:
        return False
    left, at, found = 1, 0, 1
    while left and found <= most:
        at, held = _after(message, at)
        left += held - 1
        found += held
    return found > most


def _after(message: bytes, at: int) -> tuple[int, int]:
    """Return where the value that begins there ends, without those that it holds, and how many it holds."""
    code = message[at]
    at += 1
    if code < 0x80 or code >= 0xE0:  # small integers  # noqa: PLR2004
        return at, 0
    if code < 0xA0:  # small mappings and lists  # noqa: PLR2004
        return at, (code & 15) << (code < 0x90)  # noqa: PLR2004
    if code < 0xC0:  # short texts  # noqa: PLR2004
        return at + (code & 31), 0
    if code in _FIXED:
        return at + _FIXED[code], 0
    if code in _SIZED:
        width, more = _SIZED[code]
        return at + width + int.from_bytes(message[at : at + width], "big") + more, 0
    width, each = _HOLDS[code]
    return at + width, each * int.from_bytes(message[at : at + width], "big")
