"""Digests: by content, the same in every process, and never the same for two contents."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import pickle
import threading
import traceback
import uuid
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.checkpoint import call_key, digest
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Callable

Colour = enum.Enum("Colour", ["RED", "BLUE"])


@dataclass
class Order:
    number: int
    parts: Any = None


class Pair(NamedTuple):
    left: Any
    right: Any


class Bag(dict[str, int]):
    label = "none"


def adder(more: int) -> Callable[[int], int]:
    return lambda number: number + more


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_copies_have_one_digest(value: Any) -> None:
    """A value that was written down and read again, as an XCom is, has the digest it had."""
    assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


def exact(value: Any) -> Any:
    """A value with its types, for comparison: 1, 1.0 and True are three."""
    if isinstance(value, dict):
        return dict, frozenset((key, exact(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(exact, value))
    return type(value), repr(value)


@given(PLAIN, PLAIN)
def test_digests_tell_values_apart(one: Any, other: Any) -> None:
    """Two values have one digest if, and only if, they and their parts are equal and of the same types."""
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


DIFFERENT = [
    [1, 1.0, True, "1", b"1", (1,), [1], {"1": 1}, {1}, frozenset({1}), np.int64(1), np.int32(1), decimal.Decimal(1)],
    [0, -0.0, 0.0, False, None, "", b"", (), [], {}, set(), frozenset(), ..., range(0)],
    [{-1, "a"}, {-2, "a"}, {-1: 1, "a": 2}, {-2: 1, "a": 2}, frozenset({-1, "a"})],
    [Order(1), Order(2), Order(1, []), Order(1, {1}), Order(1, {2}), Pair(1, None), (1, None), {"number": 1}],
    [Bag(a=1), {"a": 1}, Bag(a=2), [("a", 1)], (..., 0, "a", 1)],
    [Path("a/b"), PurePosixPath("a/b"), "a/b", Path("a"), Path("/a/b")],
    [Colour.RED, Colour.BLUE, 1, "RED", Colour],
    [np.array([1, 2]), np.array([1, 2], "i4"), np.array([[1, 2]]), np.array([1.0, 2.0]), [1, 2], np.array([2, 1])],
    [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [2]}), pd.Series([1])],
    [adder(1), adder(2), lambda number: number + 1, lambda number: number - 1, len, max, adder, print],
    [functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)],
    [dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))],
]


@pytest.mark.parametrize("values", DIFFERENT, ids=lambda values: type(values[0]).__name__)
def test_different_contents_differ(values: list[Any]) -> None:
    """Contents that are alike but not the same have each a digest of its own."""
    assert len({digest(value) for value in values}) == len(values)


EQUAL = [
    ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
    ({1: "a", None: "b", (1, 2): "c"}, {(1, 2): "c", 1: "a", None: "b"}),
    ({"x", 1, None, (2,)}, {(2,), None, 1, "x"}),
    (Order(1, {"a": [Path("b")]}), Order(1, {"a": [Path("b")]})),
    (["aa", "aa"], ["aa", "aab"[:2]]),
    (adder(3), adder(3)),
    (np.arange(3), np.arange(3)),
    (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})),
    (uuid.UUID(int=3), uuid.UUID(int=3)),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_contents_have_one_digest(one: Any, other: Any) -> None:
    """What is equal has one digest, whatever order its keys and elements were added in."""
    assert digest(one) == digest(other)


IN_A_PROCESS = """
import datetime, decimal, pathlib, types, uuid, collections, enum, sys
from dataclasses import dataclass
if {numpy}: import numpy
from airflow_joblib.checkpoint import digest, call_key
@dataclass
class Order:
    names: set
    rest: object
Colour = enum.Enum("Colour", "RED BLUE")
words = [str(number) for number in range(40)]
def make(item): return lambda: (item, {{"x", "y"}})
items = [1, "a", words, set(words), frozenset(words), dict.fromkeys(set(words), 1), {{None: 1, "a": 2, 3: 4}},
    Order(set(words), {{"a": frozenset(words)}}), {{word: {{word}} for word in set(words)}}, pathlib.Path("a/b"),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), decimal.Decimal("1.5"), uuid.UUID(int=7),
    collections.OrderedDict(a=1), collections.Counter(words), collections.deque(words), Colour.RED, Order, len,
    make("b"), {{Colour.RED, "x"}}, range(4), 2**80, float("nan"), -0.0, (1, [2, {{"three": None}}])]
for item in items: print(digest(item).hex())
print(call_key("shop.clean", {{"words": set(words), "order": Order({{"a", "b"}}, make(1))}}))
"""


@pytest.mark.slow
def test_same_in_every_process() -> None:
    """Digests and keys don't depend on the process: not on the seed of its hashes, nor on what it has imported."""
    found = [
        run_python(IN_A_PROCESS.format(numpy=numpy), PYTHONHASHSEED=seed).stdout
        for seed, numpy in [("0", False), ("1", True), ("random", False)]
    ]
    assert len(found[0].split()) == 27
    assert found == [found[0]] * 3


def test_path_of_the_dag_file_does_not_count(dag_file: Callable[[str], Any]) -> None:
    """An object of a class of the DAG file keeps its digest when a new bundle has the file at another path."""
    one, other = dag_file("/bundles/1/shop.py"), dag_file("/bundles/2/shop.py")
    assert one.__name__ != other.__name__
    for parts in (1, {1, 2}, np.arange(2)):
        assert digest(one.Order(parts)) == digest(other.Order(parts))
    assert digest(one.Order) == digest(other.Order) != digest(one.clean) == digest(other.clean)
    assert call_key(f"{one.__name__}.clean", {}) == call_key(f"{other.__name__}.clean", {})


def test_key_tells_calls_apart() -> None:
    """Another function, another argument or another name of one makes another call."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("shop.clean", {}),
        ("shop.sort", {}),
        ("shop.clean", {"width": 1}),
        ("shop.clean", {"width": 1.0}),
        ("shop.clean", {"height": 1}),
        ("shop.clean", {"width": 1, "height": 1}),
    ]
    keys = [call_key(*call) for call in calls]
    assert len(set(keys)) == len(calls)
    assert {len(key) for key in keys} == {48}
    assert call_key("shop.clean", {"a": 1, "b": 2}) == call_key("shop.clean", {"b": 2, "a": 1})


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in range(3)), [threading.Lock()], {"a": {open}, 1: ...}])
def test_argument_without_content(value: Any) -> None:
    """A shared argument that has no content to go by is refused by name, with what to do instead."""
    if not isinstance(value, dict):
        with pytest.raises(TypeError, match=r"shared argument 'lock' .* per_worker, .* leave checkpoint out"):
            call_key("shop.clean", {"lock": value})
    else:
        assert call_key("shop.clean", {"lock": value}) == call_key("shop.clean", {"lock": dict(value)})


def test_no_value_is_shown() -> None:
    """What can't be recognised is named by its type; its value, which may be a secret, is in no message."""

    class Local:
        def __repr__(self) -> str:
            return "the secret"

    with pytest.raises(TypeError, match=r"'order' .* a list has no content") as raised:
        call_key("shop.clean", {"order": [Local()]})
    assert "the secret" not in "".join(traceback.format_exception(raised.value))


def test_class_that_no_name_finds() -> None:
    """An object whose class isn't found by its name has no digest: another class may go by the same name."""
    row = namedtuple("Hidden", "a b")  # type: ignore[name-match]  # noqa: PYI024 - what a dynamic class looks like
    with pytest.raises(Exception, match="Hidden"):
        digest(row(1, 2))


def test_cycle_is_no_trouble() -> None:
    """A list that contains itself has a digest, too."""
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert len(digest(cycle)) == 16
