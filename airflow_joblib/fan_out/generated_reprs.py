"""Objects that are shown by their fields, since their class has been given its ``repr``, as dataclasses have it."""

from __future__ import annotations

import dataclasses
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Part", "parts_of", "row_of"]

#: Name of a field, its value, and what makes its text where the class has that named; None for any other.
Part = tuple[str, object, "Callable[[Any], object] | None"]
#: Fields at either end that are shown, as many as have room.
_MOST = 10


def parts_of(value: Any) -> tuple[str, list[Part]] | None:
    """Return the name and the fields that an object's ``repr`` would show; None where its ``repr`` is of another kind.

    Raises:
        AttributeError: The object has lost a field.
    """
    kind = type(value)
    shows: Any = kind.__repr__
    if type(shows) is not FunctionType:
        return None
    whole: Any = getattr(shows, "__wrapped__", None)  # dataclasses guard it against objects that hold themselves
    if type(whole) is FunctionType and "__create_fn__" in whole.__qualname__ and dataclasses.is_dataclass(kind):
        shown = [field.name for field in dataclasses.fields(kind) if field.repr]
        return kind.__qualname__, [(name, getattr(value, name), None) for name in _ends(shown)]
    if shows.__code__.co_filename.startswith("<attrs generated"):
        fields: Any = [field for field in getattr(kind, "__attrs_attrs__", ()) if field.repr]
        parts = [(each.name, getattr(value, each.name), _own(each.repr)) for each in _ends(fields)]
        return kind.__qualname__.rpartition(">.")[-1], parts
    names: Any = getattr(kind, "_fields", None)
    if shows.__module__ == "collections" and issubclass(kind, tuple) and names is not None:
        named = list(zip(names, value, strict=True))
        return kind.__name__, [(name, part, None) for name, part in _ends(named)]
    return None


def row_of(value: Any) -> dict[str, Any] | None:
    """Return a row of SQLite by its columns, since its own ``repr`` shows none; None for anything else."""
    kind = type(value)
    return dict(value) if (kind.__module__, kind.__name__) == ("sqlite3", "Row") else None


def _ends(fields: Sequence[Any]) -> list[Any]:
    return [*fields] if len(fields) <= 2 * _MOST else [*fields[:_MOST], *fields[-_MOST:]]


def _own(shows: Any) -> Callable[[Any], object] | None:
    return shows if callable(shows) else None
