"""The check as a whole: what it costs, what it passes, and what no other tool finds."""

from __future__ import annotations

import collections
import functools
import statistics
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import check_function, dumps, explain_items, modules_by_value, sent_by_value
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Callable

PLANTED = """
    import sqlite3, threading
    from dataclasses import dataclass, field

    def make(conn):
        def closure(item):
            return conn.execute("select ?", [item])
        return closure

    conn = sqlite3.connect(":memory:")
    closure = make(conn)

    LOCK = threading.Lock()
    def guarded(item):
        with LOCK:
            return item
    def helper(item):
        return guarded(item)

    @dataclass
    class Inner:
        lock: object
    @dataclass
    class Outer:
        table: dict
    config = Outer({"rows": [1, Inner(threading.Lock())]})
    def nested(item):
        return config

    class Service:
        def __init__(self):
            self.password = "correct-horse-battery-staple"
            self.conn = conn
            self.lock = threading.Lock()
            self.worker = threading.local()
        @property
        def token(self):
            raise AssertionError(self.password)
        def __repr__(self):
            raise AssertionError(self.password)
        def attributes(self, item):
            return item
    service = Service()
    attributes = service.attributes

    opened = open(__file__)
    def default(item, file=opened):
        return file.read()

    class Client:
        def __init__(self):
            self.options = {"guard": threading.RLock(), "password": "correct-horse-battery-staple"}
    client = Client()
    def module_level(item):
        return client
"""

EXPECTED = {
    "closure": [("closure → closure 'conn'", "sqlite3.Connection")],
    "helper": [("helper → global 'guarded' → global 'LOCK'", "_thread.lock")],
    "nested": [("nested → global 'config' → Outer.table → ['rows'] → [1] → Inner.lock", "_thread.lock")],
    "attributes": [
        ("attributes → self → Service.conn", "sqlite3.Connection"),
        ("attributes → self → Service.lock", "_thread.lock"),
        ("attributes → self → Service.worker", "_thread._local"),
    ],
    "default": [("default → default 'file'", "_io.TextIOWrapper")],
    "module_level": [("module_level → global 'client' → Client.options → ['guard']", "_thread.RLock")],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_finds_what_other_tools_miss(name: str, dag_file: Any) -> None:
    """Six planted culprits that cloudpickle, Ray and dill name in part or not at all are named in full."""
    module = dag_file(PLANTED)
    with pytest.raises(NotPicklableError) as caught:
        check_function(getattr(module, name), {})
    assert [(culprit.path, culprit.type) for culprit in caught.value.culprits] == EXPECTED[name]
    assert "battery" not in str(caught.value)
    assert all(culprit.reason and culprit.advice for culprit in caught.value.culprits)


ORDINARY = """
    import csv, json, logging, math, pathlib, re
    from dataclasses import dataclass
    from datetime import datetime

    log = logging.getLogger(__name__)
    PATTERN = re.compile("a+")
    HOME = pathlib.Path("/tmp")
    TABLE = {"a": [1, 2, 3], "b": datetime(2026, 1, 1)}

    @dataclass
    class Record:
        name: str
        when: datetime | None = None

    def clean(text: str) -> str:
        return PATTERN.sub("", text)

    def function(item: str, width: int = 200) -> Record:
        log.info("%s", HOME / item)
        return Record(clean(json.dumps(TABLE[item])), datetime.now())
"""


def test_costs_less_than_five_milliseconds(dag_file: Any) -> None:
    """An ordinary function is checked while a DAG file is parsed, which happens all the time."""
    function = dag_file(ORDINARY).function
    check_function(function, {})
    times = []
    for _ in range(20):
        start = time.perf_counter()
        check_function(function, {})
        times.append(time.perf_counter() - start)
    print(f"{statistics.median(times) * 1000:.2f} ms")
    assert min(times) < 0.005


def test_a_passing_check_loads_nothing_of_the_search() -> None:
    """What searches and explains is imported only once something has failed."""
    code = """
        import sys
        from airflow_joblib.pickling import check_function
        check_function(print, {})
        found = [name for name in sys.modules if name.endswith((".culprits", ".children", ".explanation"))]
        print(found)
    """
    assert run_python(textwrap.dedent(code)).stdout.strip() == "[]"


def test_the_check_leaves_no_registration(dag_file: Any) -> None:
    """A check that fails leaves cloudpickle as it was."""
    before = cloudpickle.list_registry_pickle_by_value()
    module = dag_file("import threading\nlock = threading.Lock()\ndef function(item):\n    return lock\n")
    with pytest.raises(NotPicklableError):
        check_function(module.function, {})
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_builtins_and_partials_of_them_pass() -> None:
    """A builtin goes by reference."""
    check_function(len, {"conn": functools.partial(dict, a=1)})


@dataclass
class Box:
    held: Any
    note: str = "x"


@dataclass(frozen=True, slots=True)
class FrozenBox:
    held: Any


class Slots:
    __slots__ = ("held", "unset")

    def __init__(self, held: Any) -> None:
        self.held = held


class Plain:
    def __init__(self, held: Any) -> None:
        self.before = [1, 2]
        self.held = held

    def method(self) -> Any:
        return self.held


class Reducing:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return Reducing, (self.held,)


class Pair(NamedTuple):
    first: int
    held: Any


class Mapped(dict[str, Any]):
    pass


def close_over(held: Any) -> Any:
    def function() -> Any:
        return held

    return function


def by_default(value: Any) -> Any:
    def function(a: int, held: Any = value) -> Any:
        return held

    return function


def by_keyword(value: Any) -> Any:
    return lambda *, held=value: held


def with_attribute(value: Any) -> Any:
    def function() -> None: ...

    vars(function)["held"] = value
    return function


WRAPPERS: list[tuple[Callable[[Any], Any], list[str]]] = [
    (lambda held: [held], ["[0]"]),
    (lambda held: [0, [1, "a"], held, {}], ["[2]"]),
    (lambda held: [*range(40), Box(1), *([[i] for i in range(40)]), held], ["[81]"]),
    (lambda held: (held, (1,)), ["[0]"]),
    (lambda held: {"a": [1], "held": held}, ["['held']"]),
    (lambda held: {7: held}, ["[7]"]),
    (lambda held: collections.OrderedDict(held=held), ["['held']"]),
    (lambda held: collections.deque([held], 3), ["[0]"]),
    (lambda held: Mapped(held=held), ["['held']"]),
    (Box, ["Box.held"]),
    (FrozenBox, ["FrozenBox.held"]),
    (Slots, ["Slots.held"]),
    (Plain, ["Plain.held"]),
    (Reducing, ["Reducing.held"]),
    (lambda held: Pair(1, held), ["Pair.held"]),
    (lambda held: Plain(held).method, ["self", "Plain.held"]),
    (close_over, ["closure 'held'"]),
    (by_default, ["default 'held'"]),
    (by_keyword, ["default 'held'"]),
    (with_attribute, ["attribute 'held'"]),
    (lambda held: functools.partial(max, 1, held), ["argument 1"]),
    (lambda held: functools.partial(max, key=held), ["argument 'key'"]),
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(WRAPPERS), max_size=12), st.integers(0, 10**6))
def test_names_exactly_the_planted_path(wrappers: list[tuple[Callable[[Any], Any], list[str]]], index: int) -> None:
    """However a single culprit is wrapped, the check names its path and no other."""
    value: Any = threading.Lock()
    path: list[str] = []
    for wrap, segments in wrappers:
        value = wrap(value)
        path = [*segments, *path]
    with sent_by_value([sys.modules[__name__]]):
        (culprit,) = explain_items([1, value, [2]], range(index, index + 3))
    assert culprit.path == " → ".join([f"item {index + 1}", *path])
    assert culprit.type == "_thread.lock"


@given(st.lists(st.sampled_from(WRAPPERS), max_size=12))
def test_blames_nothing_that_travels(wrappers: list[tuple[Callable[[Any], Any], list[str]]]) -> None:
    """The same values without a culprit pass."""
    value: Any = 1
    for wrap, _ in wrappers:
        value = wrap(value)
    check_function(close_over(value), {})


def test_concurrent_checks_keep_their_registration(dag_file: Any) -> None:
    """Checks in several threads do not end each other's registration."""
    functions = [dag_file(ORDINARY, f"dag_{number}").function for number in range(4)]
    errors: list[BaseException] = []

    def run(function: Callable[..., Any]) -> None:
        try:
            for _ in range(50):
                check_function(function, {})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_function_arrives_and_runs_elsewhere(dag_file: Any, tmp_path: Any) -> None:
    """What passes the check runs in a process that has never seen the DAG file."""
    module = dag_file(ORDINARY + "\n    def count(item):\n        return len(function(item).name)\n")
    check_function(module.count, {})
    with sent_by_value(modules_by_value([module.count])):
        (tmp_path / "function").write_bytes(dumps(module.count))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'function')!r}, 'rb'))('a'))"
    assert run_python(code).stdout.strip() == str(module.count("a"))
