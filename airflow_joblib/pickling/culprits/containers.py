"""What containers are pickled from, each part with the segment of the path that leads to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PLAIN", "Child", "of_items", "of_sequence", "of_set", "short", "subscript"]

#: Types whose objects always travel, and that are too many to look at one by one.
PLAIN = frozenset({bool, bytes, bytearray, complex, float, int, str, type(None), type(Ellipsis), type(NotImplemented)})

_KEY_LENGTH = 40
_KEY_BITS = 128


class Child(NamedTuple):
    """A part of an object.

    Attributes:
        label: Segment of the path; empty for what adds nothing to it.
        value: The part itself.
        kind: Type to name where it is not that of *value*.
    """

    label: str
    value: object
    kind: type | None = None


def of_sequence(sequence: Iterable[object]) -> Iterator[Child]:
    """Yield the elements of a sequence that may not travel."""
    for index, value in enumerate(sequence):
        if type(value) not in PLAIN:
            yield Child(f"[{index}]", value)


def of_set(elements: Iterable[object]) -> Iterator[Child]:
    """Yield the elements of a set that may not travel."""
    for value in elements:
        if type(value) not in PLAIN:
            yield Child(f"element of type {type(value).__qualname__}", value)


def of_items(items: Iterable[tuple[object, object]]) -> Iterator[Child]:
    """Yield the keys and values of a mapping that may not travel."""
    for key, value in items:
        if type(key) not in PLAIN:
            yield Child(f"key of type {type(key).__qualname__}", key)
        if type(value) not in PLAIN:
            yield Child(subscript(key), value)


def subscript(key: Any) -> str:
    """Return how a path shows *key*: itself if it is a name or number, else no more than its type."""
    kind = type(key)
    if kind is str:
        return f"[{key[:_KEY_LENGTH]!r}]"
    if kind is bool or key is None or (kind is int and key.bit_length() <= _KEY_BITS):
        return f"[{key}]"
    return f"[<{kind.__qualname__}>]"


def short(kind: type) -> str:
    """Return the name of a class, without what it is defined in."""
    return kind.__qualname__.rpartition(".")[2]
