"""What can be items, and what is refused with a word on what to pass instead."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from airflow_joblib import parallel_task
from airflow_joblib.fan_out.input_checks import check_items
from tests.unit.helpers import named

if TYPE_CHECKING:
    from collections.abc import Iterator


class Iterates:
    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


@pytest.mark.parametrize(
    "items",
    [
        [1],
        (1,),
        {1},
        frozenset({1}),
        range(3),
        (n for n in range(3)),
        iter([1]),
        {"a": 1}.keys(),
        {"a": 1}.values(),
        {"a": 1}.items(),
        np.arange(3),
        np.eye(2),
        pd.Series([1, 2]),
        pd.Index([1, 2]),
        Iterates(),
        map(str, [1]),
    ],
    ids=lambda items: type(items).__name__,
)
def test_items(items: object) -> None:
    """Whatever can be taken one by one can be items, and is not touched by the check."""
    assert check_items(items, "path") is items


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("abc", r"The items for 'path' can't be a str\. It would be taken apart\. Pass a list of items, \[value\]"),
        ("", r"can't be a str"),
        (b"abc", r"can't be a bytes\. It would be taken apart"),
        (bytearray(b"abc"), r"can't be a bytearray\. It would be taken apart"),
        (memoryview(b"abc"), r"can't be a memoryview\. It would be taken apart"),
        ({"a": 1}, r"can't be a dict\. Its values would be lost\. Pass list\(mapping\.items\(\)\)"),
        ({}, r"can't be a dict"),
        (OrderedDict(), r"can't be a OrderedDict\. Its values would be lost"),
        (UserDict(), r"can't be a UserDict\. Its values would be lost"),
        (MappingProxyType({}), r"can't be a mappingproxy\. Its values would be lost"),
        (
            pd.DataFrame({"a": [1]}),
            r"can't be a DataFrame\. It would be taken column by column\. .*to_dict\(\"records\"\)",
        ),
        (None, r"can't be None\. Did the task upstream return something\? Pass a list of items, \[\] for none\."),
        (3, r"can't be a int\. Pass a list"),
        (object(), r"can't be a object\. Pass a list"),
    ],
    ids=named,
)
def test_not_items(items: object, message: str) -> None:
    """What would be taken apart, or can't be taken one by one, is a TypeError that says what to pass instead."""
    with pytest.raises(TypeError, match=message):
        check_items(items, "path")


class Columns:
    """Goes by column, as a table does."""

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])


def _table(module: str, name: str, **more: object) -> type:
    return type(name, (Columns,), {"__module__": module, **more})


class Frame(pd.DataFrame):
    """A table of the user's own."""


class Rows(pd.DataFrame):
    """One that goes by row."""

    def __iter__(self) -> Any:
        return self.itertuples()


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("pandas", "DataFrame", 'frame.to_dict("records")'),
        ("pandas.core.frame", "DataFrame", "frame.itertuples()"),
        ("modin.pandas.dataframe", "DataFrame", 'frame.to_dict("records")'),
        ("polars.dataframe.frame", "DataFrame", "frame.to_dicts() or frame.rows()"),
        ("polars.lazyframe.frame", "LazyFrame", "frame.collect().to_dicts()"),
        ("pyarrow.lib", "Table", "table.to_pylist()"),
        ("pyarrow.lib", "RecordBatch", "batch.to_pylist()"),
        ("dask.dataframe.dask_expr._collection", "DataFrame", "frame.compute()"),
        ("pyspark.sql.classic.dataframe", "DataFrame", "frame.collect()"),
        ("xarray.core.dataset", "Dataset", "dataset.to_dataframe()"),
    ],
)
def test_tables(module: str, name: str, call: str) -> None:
    """A table that goes by column is refused, and so is a subclass of it: the error names the call that makes rows."""
    kind = _table(module, name)
    for table in (kind(), type("Sub", (kind,), {})()):
        with pytest.raises(TypeError, match="column by column") as caught:
            check_items(table, "path")
        assert call in str(caught.value)


def test_unknown_table() -> None:
    """A table of a library that nobody has heard of is known by how such libraries exchange tables."""
    with pytest.raises(TypeError, match="one element for each row"):
        check_items(_table("unknown", "Table", __dataframe__=None)(), "path")


def test_subclasses_of_frames() -> None:
    """A DataFrame's subclass is refused before anything runs; one that goes by row, and a Series, are taken."""
    task: Any = parallel_task(n_jobs=1)(repr)
    with pytest.raises(TypeError, match=r"can't be a Frame\. .* frame\.to_dict\(\"records\"\)"):
        task.map(Frame({"a": [1, 2]}))
    assert task.map(Rows({"a": [1, 2]})) == ["Pandas(Index=0, a=1)", "Pandas(Index=1, a=2)"]
    assert task.map(pd.Series([1, 2])) == ["1", "2"]


def test_series_of_other_libraries() -> None:
    """What is no table, though of a library of tables, goes by element and is taken."""
    series = _table("polars.series.series", "Series")()
    assert check_items(series, "path") is series
