"""Chunks of a list, and one list of chunks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib import InvalidOptionError, join, split
from tests.unit.helpers import run_python

ITEMS = st.lists(st.integers(), max_size=60)
NUMBER = st.integers(min_value=1, max_value=70)


@given(ITEMS, NUMBER)
def test_into_is_as_equal_as_can_be(items: list[int], into: int) -> None:
    """There are as many chunks as asked for, or as items; none is empty, and no two differ by more than one item."""
    chunks = split(items, into=into)
    assert len(chunks) == min(into, len(items))
    sizes = {len(chunk) for chunk in chunks}
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert join(chunks) == items


@given(ITEMS, NUMBER)
def test_size_is_that_of_every_chunk_but_the_last(items: list[int], size: int) -> None:
    """Every chunk has the size asked for, but the last, which has what is left."""
    chunks = split(items, size=size)
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks[-1:])
    assert join(chunks) == items


def test_anything_iterable() -> None:
    """A range, a tuple and a generator are cut like a list, and their chunks are lists."""
    assert split(range(3), size=2) == split((0, 1, 2), size=2) == split(iter([0, 1, 2]), size=2) == [[0, 1], [2]]
    assert join(iter([(0, 1), range(2, 4)])) == [0, 1, 2, 3]


def test_nothing() -> None:
    """No items give no chunks, no chunks give no results, and empty chunks among others count for nothing."""
    nothing: list[list[int]] = []
    assert split(nothing, into=3) == split(nothing, size=3) == []
    assert join([nothing]) == []
    chunks: list[list[int]] = []
    assert join(chunks) == []
    assert join([[1], [], [2]]) == [1, 2]


def test_mapped_upstream_is_one_request() -> None:
    """What a mapped task upstream returned is taken with one slice, not item by item."""

    class LazyXComSequence:
        def __getitem__(self, key: Any) -> Any:
            assert key == slice(None)
            return [[1], [2, 3]]

    lazy: Any = LazyXComSequence()
    assert join(lazy) == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give one of the two"),
        ({"size": 1, "into": 1}, "Give one of the two"),
        ({"size": 0}, "size must be a whole number above 0, not 0"),
        ({"into": -1}, "into must be a whole number above 0, not -1"),
        ({"into": 1.5}, "not 1.5"),
        ({"size": True}, "not True"),
        ({"size": "2"}, "not '2'"),
    ],
)
def test_bad_number(options: dict[str, Any], message: str) -> None:
    """A number that is missing, given twice or no number above 0 is refused."""
    with pytest.raises(InvalidOptionError, match=message):
        split([1, 2], **options)


@pytest.mark.parametrize("items", ["abc", b"abc", {"a": 1}, 3, None])
def test_bad_items(items: Any) -> None:
    """What can't be taken item by item is refused, as a parallel task does."""
    with pytest.raises(TypeError, match="The items for 'items'"):
        split(items, into=2)


@pytest.mark.parametrize("chunk", ["abc", {"a": 1}, 3, None])
def test_bad_chunk(chunk: Any) -> None:
    """A chunk that is no list is refused, and the error says which one it is."""
    with pytest.raises(TypeError, match=r"The items for 'chunks\[1\]'"):
        join([[1], chunk])


def test_imports_no_airflow() -> None:
    """Outside a DAG neither function imports Airflow."""
    code = (
        "import sys; from airflow_joblib import join, split; join(split([1], into=1)); print('airflow' in sys.modules)"
    )
    assert run_python(code).stdout.strip() == "False"
