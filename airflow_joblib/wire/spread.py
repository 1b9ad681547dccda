"""Items of several parameters: tuples, lists, rows, and mappings, each spread over the parameters by name or place."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from airflow_joblib.options.over import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["columns_of", "values_of", "why_unfit", "without_cursor"]

#: What has parts, and none for each parameter.
_NO_ROWS = (str, bytes, bytearray, memoryview, AbstractSet)


def values_of(item: Any, names: Sequence[str]) -> Sequence[Any]:
    """Return what an item has for each of the parameters *names*, in their order.

    Raises:
        TypeError: It has more, or less, or is of another kind.
    """
    kind = type(item)
    if (kind is tuple or kind is list) and len(item) == len(names):
        return item  # type: ignore[no-any-return]
    values = _values(item, names)
    if values is None:
        raise TypeError(why_unfit("An item", item, names))
    return values


def _values(item: Any, names: Sequence[str]) -> Sequence[Any] | None:
    if isinstance(item, Mapping):
        return [item[name] for name in names] if _has_keys(item, names) else None
    if not _is_row(item) or len(item) != len(names):
        return None
    columns = columns_of(item)
    if columns is not None and {*columns} == {*names}:  # by name, in whatever order the query had them
        by_name = dict(zip(columns, item, strict=True))
        return [by_name[name] for name in names]
    return tuple(item)


def _has_keys(item: Mapping[Any, Any], names: Sequence[str]) -> bool:
    return len(item) == len(names) and all(name in item for name in names)


def _is_row(item: object) -> bool:
    """Return whether an item has an order, as a sequence or what a database's cursor makes of a row."""
    kind: Any = type(item)
    return not isinstance(item, _NO_ROWS) and all(
        hasattr(kind, name) for name in ("__len__", "__getitem__", "__iter__")
    )


def columns_of(item: Any) -> list[str] | None:
    """Return the names of what a named tuple or a database's row holds; None where it has none."""
    fields: Any = getattr(item, "_fields", None)
    if fields is None and callable(keys := getattr(item, "keys", None)):
        fields = keys()
    try:
        found: list[Any] = list(fields or ())
    except TypeError:
        return None
    return found if found and all(type(name) is str for name in found) else None


def without_cursor(item: Any, names: Sequence[str]) -> Any:
    """Return an item as it can be pickled: a row that is bound to its cursor as the tuple of its values."""
    return item if isinstance(item, tuple | list | Mapping) else tuple(values_of(item, names))


def why_unfit(which: str, item: object, names: Sequence[str]) -> str:
    """Return why an item can't be spread, without a value of it.

    Args:
        which: What the item is called.
        item: The item.
        names: The parameters.
    """
    shown = " and ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
    return (
        f"{which} can't be spread over {shown}: {_described(item, names)}. With over={quoted(names)} each item is a "
        f"tuple, a list or a row of {len(names)}, or a mapping with exactly these keys."
    )


def _described(item: Any, names: Sequence[str]) -> str:
    kind = type(item).__name__
    if isinstance(item, Mapping):
        return f"it is a {kind} {' and '.join(_of_keys(item, names))}"
    return f"it is a {kind} of {len(item):,}" if _is_row(item) else f"it is of type {kind}"


def _of_keys(item: Mapping[Any, Any], names: Sequence[str]) -> Iterator[str]:
    missing = [name for name in names if name not in item]
    if missing:
        yield f"without {', '.join(map(repr, missing))}"
    if more := len(item) - (len(names) - len(missing)):
        yield f"with {more:,} other key{'' if more == 1 else 's'}"
