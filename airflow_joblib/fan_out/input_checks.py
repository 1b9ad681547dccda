"""What can be taken for items, and what to pass instead of what can't.

Tables are known by the names in their type's MRO, so that no library of tables is imported for it.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Mapping, MappingView, Sized
from collections.abc import Set as AbstractSet
from typing import Any

from airflow_joblib.wire.spread import values_of, why_unfit

__all__ = ["check_items", "holds_items", "spreadable"]

_OF_PANDAS = 'frame.to_dict("records") or list(frame.itertuples())'

#: Package and name of a table to what makes a list of its rows.
_ROWS = {
    ("pandas", "DataFrame"): _OF_PANDAS,
    ("modin", "DataFrame"): _OF_PANDAS,
    ("polars", "DataFrame"): "frame.to_dicts() or frame.rows()",
    ("polars", "LazyFrame"): "frame.collect().to_dicts() or frame.collect().rows()",
    ("narwhals", "DataFrame"): "frame.rows(named=True) or frame.rows()",
    ("narwhals", "LazyFrame"): "frame.collect().rows(named=True)",
    ("pyarrow", "Table"): "table.to_pylist()",
    ("pyarrow", "RecordBatch"): "batch.to_pylist()",
    ("cudf", "DataFrame"): 'frame.to_pandas().to_dict("records")',
    ("dask", "DataFrame"): 'frame.compute().to_dict("records")',
    ("dask_expr", "DataFrame"): 'frame.compute().to_dict("records")',
    (
        "pyspark",
        "DataFrame",
    ): "[row.asDict() for row in frame.collect()], or frame.to_dict('records') of pyspark.pandas",
    ("duckdb", "DuckDBPyRelation"): "relation.fetchall()",
    ("_duckdb", "DuckDBPyRelation"): "relation.fetchall()",
    ("ibis", "Table"): 'table.to_pandas().to_dict("records")',
    ("vaex", "DataFrame"): "frame.to_records()",
    ("xarray", "Dataset"): 'dataset.to_dataframe().reset_index().to_dict("records")',
}


def check_items(items: object, name: str, *, hint: str = "", over: tuple[str, ...] = ()) -> Iterable[Any]:
    """Return *items* if they can be taken one by one.

    Args:
        items: The items.
        name: Name of the parameter that takes them.
        hint: What to say besides where they can't.
        over: Names of the parameters that each item is spread over. Items of a lazy iterator are looked at as they are
            drawn.

    Raises:
        TypeError: They are None, a string, bytes, a mapping, a table that goes by column, or not iterable at all; or
            one of them can't be spread over the parameters.
    """
    advice = _advice(items)
    if advice is not None:
        msg = f"The items for {name!r} can't be {_described(items)}. {advice}{hint}"
        raise TypeError(msg)
    return spreadable(items, over) if over else items  # type: ignore[arg-type, return-value]


def spreadable(items: Iterable[Any], over: tuple[str, ...]) -> Iterable[Any]:
    """Return items each of which can be spread over parameters.

    Raises:
        TypeError: One can't. Of a lazy iterator each is looked at as it is drawn.
    """
    checked = map(functools.partial(_check_one, over), itertools.count(), items)
    if not (isinstance(items, Sized) and holds_items(items)):
        return checked
    deque(checked, maxlen=0)
    return items


def _check_one(over: tuple[str, ...], index: int, item: Any) -> Any:
    kind = type(item)
    if (kind is not tuple and kind is not list) or len(item) != len(over):
        try:
            values_of(item, over)
        except TypeError:
            raise TypeError(why_unfit(f"Item {index}", item, over)) from None
    return item


def holds_items(items: object) -> bool:
    """Return whether a sized input holds its items; a progress bar or a data loader makes them one by one."""
    return hasattr(type(items), "__getitem__") or isinstance(items, AbstractSet | MappingView)


def _described(items: object) -> str:
    return "None" if items is None else f"a {type(items).__name__}"


def _advice(items: object) -> str | None:
    """Return what to pass instead; None for what can be taken."""
    if items is None:
        return "Did the task upstream return something? Pass a list of items, [] for none."
    if isinstance(items, str | bytes | bytearray | memoryview):
        return "It would be taken apart. Pass a list of items, [value] for a single one."
    if (rows := _rows_of(type(items))) is not None:
        return f"It would be taken column by column. Pass its rows: {rows}."
    if isinstance(items, Mapping):
        return "Its values would be lost. Pass list(mapping.items()), and take the pair apart in the function."
    if not isinstance(items, Iterable) and not hasattr(type(items), "__getitem__"):
        return "Pass a list, or anything else that can be iterated."
    return None


def _rows_of(kind: type) -> str | None:
    """Return what makes rows of a table that goes by column; None for what goes by element."""
    for base in kind.__mro__:
        if (rows := _ROWS.get((base.__module__.partition(".")[0], base.__name__))) is not None:
            # A subclass of the user's may go by row.
            return rows if getattr(kind, "__iter__", None) is getattr(base, "__iter__", None) else None
    if not hasattr(kind, "__dataframe__"):  # by which libraries of tables exchange them
        return None
    return _OF_PANDAS if hasattr(kind, "itertuples") else "a list with one element for each row"
