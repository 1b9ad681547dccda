"""Objects that are shown by their fields, since their class has been given its ``repr``, as dataclasses have it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Part", "parts_of"]

#: Name of a field, its value, and what makes its text where the class has that named; None for any other.
Part = tuple[str, object, "Callable[[Any], object] | None"]


def parts_of(value: Any) -> tuple[str, list[Part]] | None:
    """Return the name and the fields that an object's ``repr`` would show; None where its ``repr`` is of another kind.

    Raises:
        AttributeError: The object has lost a field.
    """
    kind = type(value)
    shows = getattr(kind, "__repr__", None)
    whole = getattr(shows, "__wrapped__", None)  # dataclasses guard it against objects that hold themselves
    if "__create_fn__" in getattr(whole, "__qualname__", "") and dataclasses.is_dataclass(kind):
        return kind.__qualname__, [
            (field.name, getattr(value, field.name), None) for field in dataclasses.fields(kind) if field.repr
        ]
    if getattr(getattr(shows, "__code__", None), "co_filename", "").startswith("<attrs generated"):
        fields: Any = getattr(kind, "__attrs_attrs__", ())
        named = [(each.name, getattr(value, each.name), _own(each.repr)) for each in fields if each.repr]
        return kind.__qualname__.rpartition(">.")[-1], named
    if getattr(shows, "__module__", "") == "collections" and issubclass(kind, tuple):
        of_tuple: Any = getattr(kind, "_fields", ())
        return kind.__name__, [(name, part, None) for name, part in zip(of_tuple, value, strict=True)]
    return None


def _own(shows: Any) -> Callable[[Any], object] | None:
    return shows if callable(shows) else None
