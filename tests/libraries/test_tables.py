"""Tables of libraries that only these tests install: refused as items by name, while what goes by element is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.nightly

COLUMNS: dict[str, list[Any]] = {"n": [1, 2], "name": ["a", "b"]}
ROWS = [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}]


def _polars(lazy: bool = False) -> Any:
    polars = pytest.importorskip("polars")
    return (polars.LazyFrame if lazy else polars.DataFrame)(COLUMNS)


def _arrow(kind: str) -> Any:
    return getattr(pytest.importorskip("pyarrow"), kind).from_pydict(COLUMNS)


def _duckdb() -> Any:
    return pytest.importorskip("duckdb").sql("select * from (values (1, 'a'), (2, 'b')) as t(n, name)")


#: What makes a table, the call that the error names, and that call.
TABLES: dict[str, tuple[Callable[[], Any], str, Callable[[Any], list[Any]]]] = {
    "polars": (_polars, "frame.to_dicts()", lambda frame: frame.to_dicts()),
    "polars, lazy": (
        lambda: _polars(lazy=True),
        "frame.collect().to_dicts()",
        lambda frame: frame.collect().to_dicts(),
    ),
    "pyarrow table": (lambda: _arrow("Table"), "table.to_pylist()", lambda table: table.to_pylist()),
    "pyarrow batch": (lambda: _arrow("RecordBatch"), "batch.to_pylist()", lambda batch: batch.to_pylist()),
    "duckdb": (
        _duckdb,
        "relation.fetchall()",
        lambda relation: [dict(zip(COLUMNS, row, strict=True)) for row in relation.fetchall()],
    ),
}


def shown(item: Any) -> str:
    """Return an item's text."""
    return str(item)


@pytest.mark.parametrize("table", TABLES)
def test_table(table: str) -> None:
    """It is refused before anything runs, and the call that the error names gives items that are its rows."""
    make, call, rows = TABLES[table]
    task: Any = parallel_task(n_jobs=2, backend="threading")(shown)
    with pytest.raises(TypeError, match="column by column") as caught:
        task.map(make())
    assert call in str(caught.value)
    assert task.map(rows(make())) == [str(row) for row in ROWS]


def test_series() -> None:
    """A column alone goes by element, and is taken."""
    task: Any = parallel_task(n_jobs=2, backend="threading")(shown)
    assert task.map(_polars()["n"]) == ["1", "2"]
    assert task.map(_arrow("Table").column("name").to_pylist()) == ["a", "b"]
