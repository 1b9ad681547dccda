"""Items of several parameters: ``over=("record_id", "value")``, and who is led there."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import sqlite3
from collections import OrderedDict, UserDict, deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_joblib import InvalidOptionError, parallel_task
from airflow_joblib.signature import ItemSignature
from tests.unit.helpers import LOCAL, ONE_WORKER, note, notes, task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OVER = ("record_id", "value")
LED = re.escape('over=("record_id", "value")')


class Pair(NamedTuple):
    record_id: int
    value: str


class Swapped(NamedTuple):
    value: str
    record_id: int


class Other(NamedTuple):
    first: int
    second: str


def rows(query: str) -> list[sqlite3.Row]:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    return connection.execute(query).fetchall()


def update(record_id: int, value: str) -> str:
    return f"{record_id}={value}"


def update_all(record_id: Any, value: Any, table: str = "t", *, conn: Any = None) -> Any:
    return record_id, value, table, conn


KINDS = {
    "tuple": (1, "a"),
    "list": [1, "a"],
    "named tuple": Pair(1, "a"),
    "named tuple in another order": Swapped("a", 1),
    "named tuple of other names": Other(1, "a"),
    "dict": {"value": "a", "record_id": 1},
    "mapping": MappingProxyType({"record_id": 1, "value": "a"}),
    "own mapping": UserDict(record_id=1, value="a"),
    "ordered dict": OrderedDict(value="a", record_id=1),
    "deque": deque([1, "a"]),
    "row": rows("SELECT 1 AS record_id, 'a' AS value")[0],
    "row in another order": rows("SELECT 'a' AS value, 1 AS record_id")[0],
    "row of other names": rows("SELECT 1, 'a'")[0],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_item_may_be(kind: str) -> None:
    """Tuples, lists, named tuples, rows and mappings are spread, by name where they have the parameters' names."""
    assert parallel_task(n_jobs=1, over=OVER)(update)([KINDS[kind]]) == ["1=a"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", LOCAL)
def test_on_each_backend(backend: str) -> None:
    """The same with workers of each kind, rows of a cursor included, for known items and for a lazy iterator."""
    items = [
        [(number, "a"), {"record_id": number, "value": "a"}, row][number % 3]
        for number, row in enumerate(
            rows(" UNION ALL ".join(f"SELECT {n} AS record_id, 'a' AS value" for n in range(30)))
        )
    ]
    work = task(update, over=OVER, backend=backend, **ONE_WORKER)
    assert work(items) == work.map(iter(items)) == [f"{number}=a" for number in range(30)]


UNFIT = {
    "short": ((1,), r"it is a tuple of 1"),
    "long": ([1, "a", 2], r"it is a list of 3"),
    "text": ("ab", r"it is of type str"),
    "bytes": (b"ab", r"it is of type bytes"),
    "set": ({1, "a"}, r"it is of type set"),
    "number": (7, r"it is of type int"),
    "none": (None, r"it is of type NoneType"),
    "missing key": ({"record_id": 1}, r"it is a dict without 'value'"),
    "another key": ({"record_id": 1, "value": 2, "secret": 3}, r"it is a dict with 1 other key"),
    "other keys": ({"a": 1, "b": 2}, r"it is a dict without 'record_id', 'value' and with 2 other keys"),
    "generator": ((each for each in (1, 2)), r"it is of type generator"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("lazily", [False, True])
def test_what_an_item_may_not_be(kind: str, lazily: bool) -> None:
    """Anything else is an error with the item's index and no value of it, before any item has run."""
    item, message = UNFIT[kind]
    ran: list[int] = []

    def keep(record_id: int, value: str) -> None:
        ran.append(record_id)

    items = [(0, "a"), item, (2, "b")]
    with pytest.raises(
        TypeError, match=rf"^Item 1 can't be spread over 'record_id' and 'value': {message}. With {LED}"
    ) as caught:
        task(keep, over=OVER, backend="threading")(iter(items) if lazily else items)
    assert ran == []
    assert "secret" not in str(caught.value)


def test_late_in_a_lazy_iterator() -> None:
    """An item of a lazy iterator is looked at as it is drawn: what came before has run, and it has not."""
    ran: list[int] = []

    def keep(record_id: int, value: str) -> None:
        ran.append(record_id)

    with pytest.raises(TypeError, match="Item 50 can't be spread"):
        task(keep, over=OVER, backend="threading", batch_size=1)((n, "a") if n < 50 else (n,) for n in range(60))
    assert ran
    assert max(ran) < 50


def positional(record_id: Any, value: Any, /, table: Any = "t") -> Any:
    return record_id, value, table


def late_positional(table: Any = "t", record_id: Any = 0, value: Any = 0, /) -> Any:
    return record_id, value, table


def between(record_id: Any, table: Any, value: Any) -> Any:
    return record_id, value, table


def keyword_only(table: Any, *, record_id: Any, value: Any) -> Any:
    return record_id, value, table


def mixed(record_id: Any, /, table: Any, *, value: Any) -> Any:
    return record_id, value, table


def starred(record_id: Any, table: Any, value: Any, *more: Any) -> Any:
    return record_id, value, table, *more


def double_starred(record_id: Any, value: Any, **more: Any) -> Any:
    return record_id, value, more


def defaults(record_id: Any = 0, value: Any = 0, table: Any = "t") -> Any:
    return record_id, value, table


ITEMS = [(1, 2), (3, 4)]
PLACES: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str, Any]] = [
    (update_all, (ITEMS, "x"), {}, "(items, table='t', *, conn=None)", (1, 2, "x", None)),
    (update_all, (), {"items": ITEMS, "conn": 5}, "(items, table='t', *, conn=None)", (1, 2, "t", 5)),
    (positional, (ITEMS, "x"), {}, "(items, table='t')", (1, 2, "x")),
    (positional, (), {"items": ITEMS}, "(items, table='t')", (1, 2, "t")),
    (late_positional, ("x", ITEMS), {}, "(table='t', /, items=None)", (1, 2, "x")),
    (late_positional, (), {"items": ITEMS}, "(table='t', /, items=None)", (1, 2, "t")),
    (between, (ITEMS, "x"), {}, "(items, table)", (1, 2, "x")),
    (between, (), {"items": ITEMS, "table": "x"}, "(items, table)", (1, 2, "x")),
    (keyword_only, ("x",), {"items": ITEMS}, "(table, *, items)", (1, 2, "x")),
    (mixed, (ITEMS, "x"), {}, "(items, table)", (1, 2, "x")),
    (starred, (ITEMS, "x", 8, 9), {}, "(items, table, *more)", (1, 2, "x", 8, 9)),
    (starred, (ITEMS,), {"table": "x"}, "(items, table, *more)", (1, 2, "x")),
    (double_starred, (ITEMS,), {"a": 3}, "(items, **more)", (1, 2, {"a": 3})),
    (defaults, (ITEMS,), {}, "(items, table='t')", (1, 2, "t")),
]


@pytest.mark.parametrize(("function", "args", "kwargs", "public", "first"), PLACES)
def test_places(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], public: str, first: Any
) -> None:
    """The items stand in the place of the first of the parameters, or are named; each parameter gets its part."""
    signature = ItemSignature(function, OVER, {})
    plain = [entry.replace(annotation=entry.empty) for entry in signature.public.parameters.values()]
    assert str(signature.public.replace(parameters=plain)) == public
    items, call = signature.bind(args, kwargs)
    assert items is ITEMS
    assert call.of_item({})(items[0]) == first
    backwards = ItemSignature(function, OVER[::-1], {}).bind(args, kwargs)[1]
    assert backwards.of_item({})((2, 1)) == first


def test_resources_and_shared_arguments() -> None:
    """A resource may stand anywhere, and its function takes shared arguments as ever, but no part of an item."""

    def work(conn: str, record_id: int, value: str, unit: str) -> str:
        return f"{conn} {record_id} {value} {unit}"

    made = parallel_task(n_jobs=1, over=OVER, per_worker={"conn": lambda unit: f"for {unit}"})(work)
    assert made([(1, "a")], unit="mm") == ["for mm 1 a mm"]
    with pytest.raises(InvalidOptionError, match="requires 'value', but"):
        parallel_task(over=OVER, per_worker={"conn": lambda value: value})(work)
    with pytest.raises(InvalidOptionError, match=r"per_worker\['value'\] and the items are two sources"):
        parallel_task(over=OVER, per_worker={"value": dict})(work)


def test_a_single_name() -> None:
    """A tuple of one name spreads items of one part; a plain name takes the item whole."""
    assert parallel_task(n_jobs=1, over=("record_id",))(update)([(1,), {"record_id": 2}], "a") == ["1=a", "2=a"]
    assert parallel_task(n_jobs=1, over="record_id")(update)([1, 2], "a") == ["1=a", "2=a"]


def with_items(record_id: int, value: int, items: int) -> int:
    return record_id + value + items


def test_a_parameter_called_items() -> None:
    """A parameter ``items`` of the function's own is refused, unless the item is spread over it."""
    message = re.escape("with_items(record_id: 'int', value: 'int', items: 'int') -> 'int' has a parameter 'items'")
    with pytest.raises(InvalidOptionError, match=message):
        parallel_task(over=OVER)(with_items)
    assert parallel_task(n_jobs=1, over=("record_id", "items"))(with_items)([(1, 2)], value=3) == [6]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (("record_id", "nowhere"), r"'nowhere' in over=\('record_id', 'nowhere'\) is no parameter of update"),
        ((), "over must be the name"),
        (("value", "value"), "each once, not"),
        (("record_id", 3), "over must be the name"),
        ("record_id, value", LED),
        ("record_id value", LED),
    ],
)
def test_refused(over: Any, message: str) -> None:
    """Names that are none, or none of the function's, are refused; a text with several is shown as the tuple."""
    with pytest.raises(InvalidOptionError, match=message):
        parallel_task(over=over)(update)


def test_a_list_of_names() -> None:
    """A list of names is as good as a tuple."""
    made: Any = parallel_task(n_jobs=1, over=["record_id", "value"])(update)
    assert made.options.over == OVER
    assert made([(1, "a")]) == ["1=a"]


def test_copies() -> None:
    """Pickled, copied and overridden ones spread items as well; ``override`` may also name the parameters."""
    made = parallel_task(n_jobs=1, over=OVER)(update)
    copies = [pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made), made.override(item_retries=1)]
    for each in [*copies, parallel_task(n_jobs=1)(update).override(over=OVER)]:
        assert each([(1, "a")]) == ["1=a"]
        assert (each.item, each.over) == ("items", OVER)


def test_items_are_seen_as_given() -> None:
    """Labels, records and failures see the item, not its parts; a row is shown by its columns, secrets hidden."""
    seen: list[object] = []

    def label(item: sqlite3.Row) -> str:
        seen.append(item)
        return str(item["record_id"])

    def fail(record_id: int, value: str) -> None:
        raise ValueError(value)

    items = rows("SELECT 1 AS record_id, 'a' AS value")
    made = parallel_task(n_jobs=1, over=OVER, max_failures=1)
    assert made(fail).run(items).failures[0]["item"] == "{'record_id': 1, 'value': 'a'}"
    assert made(fail).override(label=label).run(items).failures[0]["item"] == "1"
    assert all(each is items[0] for each in seen)


def test_checkpoint(tmp_path: Path) -> None:
    """What is finished is known again by the item, rows included."""
    path = tmp_path / "ran"

    def work(record_id: int, value: str) -> str:
        note(path, record_id)
        if value == "bad" and len(notes(path)) < 4:
            raise ValueError(value)
        return value

    made = parallel_task(n_jobs=1, over=OVER, checkpoint=str(tmp_path / "kept"), batch_size=1)(work)
    items = [(1, "a"), *rows("SELECT 2 AS record_id, 'b' AS value"), {"record_id": 3, "value": "bad"}]
    with pytest.raises(ValueError, match="bad"):
        made(items)
    assert made(items) == ["a", "b", "bad"]
    assert notes(path) == ["1", "2", "3", "3"]


untyped: Any = parallel_task(n_jobs=1)(lambda record_id, value, conn=None: f"{record_id:d}={value:s}")
typed: Any = parallel_task(n_jobs=1)(update)
with_resource: Any = parallel_task(n_jobs=1, per_worker={"conn": dict})(
    lambda record_id, value, conn: f"{record_id}={value}"
)
PAIRS = [(1, "a"), (2, "b")]
RECORDS = [{"record_id": 1, "value": "a"}]

SPELLINGS: dict[str, Callable[[], object]] = {
    "tuples": lambda: typed(PAIRS),
    "tuples, map": lambda: untyped.map(PAIRS),
    "tuples beside a resource": lambda: with_resource(PAIRS),
    "zip": lambda: typed.map(zip([1, 2], ["a", "b"], strict=True)),
    "mappings": lambda: typed(RECORDS),
    "two lists": lambda: typed([1, 2], ["a", "b"]),
    "two lists by name": lambda: typed(record_id=[1, 2], value=["a", "b"]),
    "two lists of a function without types": lambda: untyped.map([1, 2], ["a", "b"]),
    "two lists, one by name": lambda: untyped([1, 2], value=["a", "b"]),
    "columns": lambda: typed(*zip(*PAIRS, strict=True)),
    "each pair an argument": lambda: typed(*PAIRS, (3, "c")),
    "items by name": lambda: typed(items=PAIRS),
    "over in the call": lambda: typed.map(PAIRS, over=OVER),
    "starmap": lambda: typed.starmap(PAIRS),
    "star": lambda: parallel_task(starmap=True)(update),
    "unpack": lambda: parallel_task(unpack=True)(update),
    "names in a text": lambda: parallel_task(over="record_id, value")(update),
    "one record": lambda: typed(1, "a"),
    "one record by name": lambda: typed(record_id=1, value="a"),
    "a dict of lists": lambda: typed({"record_id": [1, 2], "value": ["a", "b"]}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_who_is_led_here(spelling: str) -> None:
    """Who has items of several parameters and calls without ``over`` gets an error that names it literally."""
    with pytest.raises(Exception, match=r".") as caught:
        SPELLINGS[spelling]()
    assert re.search(LED, "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())]))


def test_who_is_not() -> None:
    """A list that all items share is none of that, nor is a failure that has nothing to do with it."""

    def tag(path: str, tags: list[str], *more: str) -> str:
        return path + "".join(tags) + "".join(more)

    assert parallel_task(n_jobs=1)(tag)(["a", "b"], ["x", "y"], "z", "z") == ["axyzz", "bxyzz"]

    def fail(path: str, tags: list[str]) -> None:
        raise ValueError(path)

    with pytest.raises(ValueError, match="a") as caught:
        parallel_task(n_jobs=1)(fail)(["a", "b"], ["x", "y"])
    assert "over=" not in "".join(caught.value.__notes__)
    with pytest.raises(TypeError) as other:
        parallel_task(n_jobs=1)(lambda item: item + 1)(["a", "b"])
    assert "over=" not in "".join(other.value.__notes__)
    with pytest.raises(AttributeError, match=r"no attribute 'shape'$"):
        _ = typed.shape


def test_a_function_in_between() -> None:
    """Where the item's own call lacks an argument, its note names what could be spread."""

    def call(record_id: int) -> str:
        return update(record_id)  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="missing 1 required positional argument") as caught:
        parallel_task(n_jobs=1)(call)(PAIRS)  # type: ignore[arg-type]
    assert re.search(LED, "".join(caught.value.__notes__))


def test_partials_and_methods() -> None:
    """A partial's and a method's own parameters are what an item is spread over."""

    class Shop:
        unit = "mm"

        @parallel_task(n_jobs=1, over=OVER)
        def update(self, record_id: int, value: str) -> str:
            return f"{record_id}={value} {self.unit}"

    assert Shop().update([(1, "a")]) == ["1=a mm"]
    assert parallel_task(n_jobs=1, over=OVER)(functools.partial(update_all, table="x"))(items=[(1, 2)]) == [
        (1, 2, "x", None)
    ]
