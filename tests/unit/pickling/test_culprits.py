"""Every culprit is found, by its exact path, and nothing else happens."""

from __future__ import annotations

import collections
import enum
import functools
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import check_function, explain_items, explain_shared
from airflow_joblib.pickling.culprits.search import MOST_CULPRITS, find_culprits

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD = "correct-horse-battery-staple"

pytestmark = pytest.mark.usefixtures("by_value")


def paths_of(function: Callable[..., Any], **factories: Callable[..., Any]) -> list[str]:
    with pytest.raises(NotPicklableError) as caught:
        check_function(function, factories)
    return [culprit.path for culprit in caught.value.culprits]


@dataclass
class Customer:
    lock: Any


@dataclass
class Order:
    customer: Customer
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class FrozenOrder:
    customer: Any


class Slotted:
    __slots__ = ("lock", "name")

    def __init__(self, lock: Any) -> None:
        self.lock = lock


class SlottedToo(Slotted):
    pass


class Point(NamedTuple):
    x: Any
    y: int = 0


class Loader:
    def __init__(self, conn: Any) -> None:
        self.conn = conn

    def load(self, item: int) -> int:
        return item

    def make(self) -> int:
        return 1

    def __call__(self, item: int) -> int:
        return item


class Reduces:
    def __init__(self, source: Any) -> None:
        self.source = source

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduces, (self.source,)


class ReducesAnew:
    def __init__(self, make: Any) -> None:
        self.make = make

    def __reduce__(self) -> tuple[Any, ...]:
        return ReducesAnew, (3, threading.Lock())


class Numbers(list[Any]):
    pass


class Names(dict[str, Any]):
    pass


class Model:
    """Has its state as pydantic's models do."""

    def __init__(self, field: Any) -> None:
        self.field = field

    def __getstate__(self) -> dict[str, Any]:
        return {"__dict__": self.__dict__, "__fields_set__": {"field"}}


class HashesLate:
    """Loads in a set only after its own state, which a cycle prevents."""

    def __init__(self) -> None:
        self.name = "x"
        self.friends = {self}

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other


ITEMS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda lock: lock, ""),
    (lambda lock: Order(Customer(lock)), " → Order.customer → Customer.lock"),
    (lambda lock: {"orders": [1, Order(Customer(lock))]}, " → ['orders'] → [1] → Order.customer → Customer.lock"),
    (lambda lock: {"a": {"b": [0, 1, lock]}}, " → ['a'] → ['b'] → [2]"),
    (Slotted, " → Slotted.lock"),
    (SlottedToo, " → SlottedToo.lock"),
    (FrozenOrder, " → FrozenOrder.customer"),
    (Point, " → Point.x"),
    (lambda lock: (1, (2, lock)), " → [1] → [1]"),
    (lambda lock: {lock}, " → element of type lock"),
    (lambda lock: frozenset({lock}), " → element of type lock"),
    (lambda lock: {Point(lock): 1}, " → key of type Point → Point.x"),
    (lambda lock: {Point(1): lock}, " → [<Point>]"),
    (lambda lock: {3: lock}, " → [3]"),
    (lambda lock: {None: lock}, " → [None]"),
    (lambda lock: {True: lock}, " → [True]"),
    (lambda lock: {10**5000: lock}, " → [<int>]"),
    (lambda lock: {"k" * 50: lock}, f" → ['{'k' * 40}']"),
    (lambda lock: collections.deque([1, lock]), " → [1]"),
    (lambda lock: collections.OrderedDict(a=lock), " → ['a']"),
    (lambda lock: collections.defaultdict(Loader(lock).make), " → defaultdict.default_factory → self → Loader.conn"),
    (lambda lock: Numbers([1, lock]), " → [1]"),
    (lambda lock: Names(a=lock), " → ['a']"),
    (lambda lock: functools.partial(max, 1, lock), " → argument 1"),
    (lambda lock: functools.partial(max, key=lock), " → argument 'key'"),
    (lambda lock: Loader(lock).load, " → self → Loader.conn"),
    (lambda lock: [lock].append, " → self → [0]"),
    (lambda lock: lambda: lock, " → closure 'lock'"),
    (Reduces, " → Reduces.source"),
    (ReducesAnew, " → ReducesAnew.__reduce__()[1]"),
    (lambda lock: ValueError("no", lock), " → ValueError.__reduce__()[1]"),
    (lambda lock: {"a": lock}.values(), " → [0]"),
    (lambda lock: [{"a": lock}.items()], " → [0] → ['a']"),
    (lambda lock: property(lambda _self: lock), " → closure 'lock'"),
    (lambda lock: functools.cache(lambda: lock), " → closure 'lock'"),
    (Model, " → Model.field"),
    (lambda lock: np.array([None, 1, lock], dtype=object), " → [2]"),
    (lambda _: HashesLate(), ""),
]


@pytest.mark.parametrize(("wrap", "path"), ITEMS, ids=[path or "itself" for _, path in ITEMS])
def test_names_the_path_inside_an_item(wrap: Callable[[Any], Any], path: str, lock: Any) -> None:
    """Whatever holds the culprit, the path says how to get there."""
    assert [culprit.path for culprit in explain_items([1, wrap(lock)], [16, 17])] == [f"item 17{path}"]


def test_class_attribute_of_a_class_by_value(dag_file: Any) -> None:
    """A class of the DAG file travels with its attributes, and so does its instance."""
    module = dag_file("""
        import threading
        class Base:
            guard = threading.Lock()
        class Order(Base):
            def run(self, item):
                return other
        other = threading.Lock()
        def function(item):
            return Order
    """)
    assert paths_of(module.function) == [
        "function → global 'Order' → base Base → Base.guard",
        "function → global 'Order' → Order.run → global 'other'",
    ]
    assert paths_of(module.Order().run) == ["run → global 'other'", "run → self → base Base → Base.guard"]


FUNCTIONS = {
    "closure 'conn'": """
        import sqlite3
        def make(conn):
            def function(item):
                return conn
            return function
        conn = sqlite3.connect(":memory:")
        function = make(conn)
    """,
    "global 'conn'": """
        import sqlite3
        conn = sqlite3.connect(":memory:")
        unused = [conn]
        def function(item):
            return conn
    """,
    "global 'a' → global 'b' → global 'LOCK'": """
        import threading
        LOCK = threading.Lock()
        def b():
            with LOCK:
                return 1
        def a():
            return b()
        def function(item):
            return a()
    """,
    "global 'save' → closure 'conn'": """
        import sqlite3
        def make(conn):
            return lambda item: conn.execute("select ?", [item])
        conn = sqlite3.connect(":memory:")
        save = make(conn)
        def function(item):
            return save(item)
    """,
    "default 'file'": """
        import os
        opened = open(os.devnull)
        def function(item, other=1, file=opened):
            return file
    """,
    "default 'lock'": """
        import threading
        def function(item, *, other=1, lock=threading.Lock()):
            return lock
    """,
    "attribute 'guard'": """
        import threading
        def function(item):
            return item
        function.guard = threading.Lock()
    """,
    "global 'LOCK'": """
        import threading
        LOCK = threading.Lock()
        def helper():
            return LOCK
        def function(item):
            return [LOCK for _ in helper()]
    """,
    "closure 'function' → global 'LOCK'": """
        import functools, threading
        LOCK = threading.Lock()
        def decorate(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper
        @decorate
        def function(item):
            return LOCK
    """,
    "global 'table' → ['lock']": """
        import threading
        table = {"lock": threading.Lock()}
        function = lambda item: table
        function.__name__ = "function"
    """,
    "argument 'lock'": """
        import functools, threading
        def function(item, lock):
            return lock
        function = functools.partial(function, lock=threading.Lock())
    """,
}


@pytest.mark.parametrize("path", FUNCTIONS)
def test_names_the_path_from_a_function(path: str, dag_file: Any) -> None:
    """A function's closures, globals, defaults, attributes and arguments are all looked at."""
    assert paths_of(dag_file(FUNCTIONS[path]).function) == [f"function → {path}"]


def test_callable_object_and_factory(lock: Any) -> None:
    """A callable object goes by its type's name, what opens a worker's resource by its parameter."""
    assert paths_of(Loader(lock)) == ["Loader → Loader.conn"]
    assert paths_of(max, conn=Loader(lock).load) == ["per_worker 'conn' → self → Loader.conn"]


def test_lambdas_local_classes_and_enums_are_no_culprits(dag_file: Any) -> None:
    """What cloudpickle sends by value passes, and what hides behind a name in the module goes along."""
    module = dag_file("""
        import enum, functools, sys, typing
        class Color(enum.Enum):
            RED = 1
        UserId = typing.NewType("UserId", int)
        Rest = typing.ParamSpec("Rest")
        @functools.cache
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        def make():
            class Local:
                @functools.cached_property
                def ten(self):
                    return 10
            return Local, lambda x: x
        Local, double = make()
        def function(item: UserId, out=sys.stderr) -> Rest:
            return Local(), double(item), Color.RED, fib(10)
    """)
    check_function(module.function, {"model": module.Local})


def test_lists_every_culprit_once(lock: Any) -> None:
    """All culprits are listed, and one that several items share is listed by its first path."""
    other = threading.RLock()
    conn = sqlite3.connect(":memory:")
    order = {"a": lock, "b": conn, "c": [other, lock]}
    assert [
        culprit.path for culprit in explain_items([order, order, [other], Slotted(threading.Lock())], range(4))
    ] == [
        "item 0 → ['a']",
        "item 0 → ['b']",
        "item 0 → ['c'] → [0]",
        "item 3 → Slotted.lock",
    ]
    conn.close()


def test_shared_arguments(lock: Any) -> None:
    """A shared argument is named by its parameter."""
    culprits = explain_shared({"width": 3, "conn": lock, "options": {"guard": threading.Lock()}})
    assert [culprit.path for culprit in culprits] == ["argument 'conn'", "argument 'options' → ['guard']"]


class Node:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.children: list[Any] = []
        self.lock: Any = None
        if parent is not None:
            parent.children.append(self)


def test_a_cycle_blames_nobody_else(lock: Any) -> None:
    """An object that fails only because it refers back to the one that holds it is no culprit."""
    root = Node()
    nodes = [Node(root) for _ in range(3)]
    nodes[1].lock = lock
    assert [culprit.path for culprit in explain_items([root], [0])] == ["item 0 → Node.children → [1] → Node.lock"]
    root.lock = threading.Lock()
    assert [culprit.path for culprit in explain_items([root], [0])] == [
        "item 0 → Node.children → [1] → Node.lock",
        "item 0 → Node.lock",
    ]


def test_a_web_of_references_costs_no_more_than_a_tree(lock: Any) -> None:
    """Thousands of objects that all know their parent are searched within seconds."""
    root = Node()
    for _ in range(5000):
        Node(root)
    root.children[4000].lock = lock
    start = time.monotonic()
    assert [culprit.path for culprit in explain_items([root], [0])] == ["item 0 → Node.children → [4000] → Node.lock"]
    assert time.monotonic() - start < 10


class RaisesReducing:
    def __reduce__(self) -> Any:
        raise ValueError(PASSWORD)


class RaisesGettingState:
    def __getstate__(self) -> Any:
        return _fail()


class RaisesLoading:
    def __setstate__(self, state: Any) -> None:
        raise KeyError(PASSWORD)

    def __getstate__(self) -> Any:
        return {"a": 1}


class LosesItself:
    """The delegation that everybody writes once: it has no end until ``inner`` is there."""

    def __init__(self) -> None:
        self.inner = 3

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class EndlessState:
    def __getstate__(self) -> Any:
        return self.__getstate__()


def _fail() -> None:
    raise ZeroDivisionError(PASSWORD)


RAISING: list[tuple[Callable[[], Any], str, str]] = [
    (RaisesReducing, "RaisesReducing", "its __reduce__ raised ValueError (line "),
    (RaisesGettingState, "RaisesGettingState", "its __getstate__ raised ZeroDivisionError (line "),
    (RaisesLoading, "RaisesLoading", "unpickling it raised KeyError (line "),
    (LosesItself, "LosesItself", "unpickling it raised RecursionError (line "),
    (EndlessState, "EndlessState", "its __getstate__ raised RecursionError (line "),
]


@pytest.mark.parametrize(("make", "name", "reason"), RAISING, ids=[name for _, name, _ in RAISING])
def test_says_what_raised(make: Callable[[], Any], name: str, reason: str) -> None:
    """A method of the user that raises is named with the exception's type and line, never its message."""
    (culprit,) = explain_items([[[make()]]], [4])
    assert culprit.path == "item 4 → [0] → [0]"
    assert culprit.type.endswith(f".{name}")
    assert culprit.reason.startswith(reason)
    assert reason.endswith(".") or culprit.reason.endswith(" of test_culprits.py).")
    assert PASSWORD not in str(culprit)


class Secretive:
    """Records whatever of it is run."""

    runs: list[str] = []

    def __init__(self, lock: Any) -> None:
        self.password = PASSWORD
        self.lock = lock
        self.table = {PASSWORD: PASSWORD, "inner": [PASSWORD, lock]}

    @property
    def token(self) -> str:
        self.runs.append("token")
        return PASSWORD

    def __repr__(self) -> str:
        self.runs.append("__repr__")
        return PASSWORD

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        self.runs.append("__eq__")
        return False

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        self.runs.append("__bool__")
        return True


def test_no_value_leaks_and_no_property_runs(lock: Any) -> None:
    """Neither attributes nor messages nor texts of the user's objects are shown, and none of them is run."""
    secret = Secretive(lock)

    def function(item: int, options: Any = secret, *, password: str = PASSWORD) -> Any:
        return options, password

    with pytest.raises(NotPicklableError) as caught:
        check_function(function, {"conn": lambda: secret})
    error = caught.value
    assert error.path == "function → default 'options' → Secretive.lock"
    assert error.culprit_type == "_thread.lock"
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert PASSWORD not in str(error) + repr(error)
    assert Secretive.runs == []


def test_deep_nesting_is_reported_where_it_begins() -> None:
    """Data too deep for pickle is named as a whole, and deep data with a culprit near the top by that culprit."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (culprit,) = explain_shared({"tree": {"root": deep}})
    assert culprit.path == "argument 'tree' → ['root']"
    assert culprit.reason == "it is nested too deeply to be pickled."
    lock = threading.Lock()
    assert [culprit.path for culprit in explain_items([[lock, deep]], [0])] == ["item 0 → [0]", "item 0 → [1]"]
    while deep:  # freed from the outside in: a destructor may recurse
        deep = deep[0]


def test_nesting_that_pickle_bears_is_followed_to_its_end(lock: Any) -> None:
    """A culprit under two hundred lists has a path of two hundred segments."""
    value = lock
    for _ in range(200):
        value = [value]
    assert [culprit.path for culprit in find_culprits(value, "x")] == ["x" + " → [0]" * 200]


def test_finds_one_among_a_million() -> None:
    """A long list is searched by groups, so that a single bad element takes seconds at most."""
    values: list[Any] = list(range(1_000_000))
    values[777_777] = threading.Lock()
    values[3] = [1]
    start = time.monotonic()
    assert [culprit.path for culprit in explain_shared({"x": values})] == ["argument 'x' → [777777]"]
    assert time.monotonic() - start < 10


def test_a_million_culprits_end_the_search_early() -> None:
    """So many culprits are one mistake: the list ends, and says so."""
    culprits = explain_items([threading.Lock() for _ in range(10_000)], range(10_000))
    assert len(culprits) == MOST_CULPRITS
    assert culprits[-1].advice.endswith("The search ended here; there may be more.")


def test_something_is_always_named() -> None:
    """Where all parts can be pickled one by one, the answer says so; it is never empty."""
    (culprit,) = explain_items([1, 2], [5, 6])
    assert culprit.path == "items 5 to 6"
    (culprit,) = explain_items([1], [5])
    assert culprit.path == "item 5"
    (culprit,) = explain_shared({"a": 1})
    assert culprit.path == "shared arguments"
    assert find_culprits([1], "x") == []


class Side(enum.Enum):
    LEFT = "left"


def test_unimportable_module(ghost: Any) -> None:
    """What dumps as a reference to a module that only this process has is a culprit, as a module, class or function."""
    module = ghost("""
        class Spirit:
            pass
        def haunt():
            pass
    """)
    spirit = module.Spirit()

    def function(item: int) -> Any:
        return module, Side.LEFT

    def another(item: int, call: Any = module.haunt) -> Any:
        return call

    expected = "the module 'ghost' it is defined in can't be imported by a worker."
    assert paths_of(function) == ["function → closure 'module'"]
    assert paths_of(another) == ["another → default 'call'"]
    culprits = explain_items([{"a": spirit}], [0])
    assert [(found.path, found.type, found.reason) for found in culprits] == [
        ("item 0 → ['a']", "ghost.Spirit", expected),
    ]
