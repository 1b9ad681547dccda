"""What crosses a process boundary, and as what it comes back."""

from __future__ import annotations

import copyreg
import enum
import functools
import io
import pickle
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.pickling import RefusedError, UnimportableError, dotted_name, dumps, loads, sent_by_value
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THIS = sys.modules[__name__]

DAG = """
    import enum, functools, sys, typing
    from dataclasses import dataclass

    class Color(enum.Enum):
        RED = 1

    @dataclass
    class Base:
        name: str
    @dataclass
    class Order(Base):
        color: Color = Color.RED
        made = 0
        @functools.cached_property
        def shout(self):
            return self.name.upper()
        def louder(self):
            return super().__repr__(), self.shout

    class OrderError(Exception):
        def __init__(self, order):
            super().__init__(order)
            self.order = order

    UserId = typing.NewType("UserId", int)

    @functools.lru_cache(maxsize=7)
    def fib(n: UserId) -> int:
        '''Return a number.'''
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    def answer(order):
        '''Return everything that should come back as what it was.'''
        def make():
            class Local:
                pass
            return Local
        assert isinstance(order, Order) and order.color is Color.RED
        order.made = fib(10)
        return order, Color.RED, Order, OrderError(order), Order("new"), order.louder()[1], fib.cache_parameters()
"""


def elsewhere(tmp_path: Path, *messages: bytes) -> Any:
    """Load the messages in another process, call the first with the rest, and return what comes back."""
    code = """
import pickle, sys
from airflow_joblib.pickling import dumps, loads
loaded = [loads(message) for message in pickle.load(open(sys.argv[1], "rb"))]
with open(sys.argv[1], "wb") as file:
    file.write(dumps(loaded[0](*loaded[1:])))
"""
    file = tmp_path / "message"
    file.write_bytes(pickle.dumps(messages))
    run_python(f"import sys; sys.argv = ['', {str(file)!r}]\n{code}")
    return loads(file.read_bytes())


def test_a_class_of_the_dag_file_comes_back_as_itself(dag_file: Any, tmp_path: Path) -> None:
    """Objects, classes, enum members and exceptions that return are of the very classes that were sent."""
    module = dag_file(DAG)
    with sent_by_value([module]):
        data = dumps(module.answer), dumps(module.Order("x"))
    order, color, cls, error, new, shout, parameters = elsewhere(tmp_path, *data)
    assert type(order) is module.Order
    assert (order.name, order.made, shout) == ("x", 55, "X")
    assert color is module.Color.RED
    assert cls is module.Order
    assert type(error) is module.OrderError
    assert error.order is order
    assert isinstance(new, module.Base)
    assert parameters == {"maxsize": 7, "typed": False}
    assert module.Order.louder.__module__ == module.__name__, "coming back must leave the class as it was"


def test_an_object_with_slots_comes_back(dag_file: Any, tmp_path: Path) -> None:
    """A class keeps its slots there, or its objects would bring a ``__dict__`` back that they have no place for."""
    module = dag_file("""
        import enum
        from collections import namedtuple
        from dataclasses import dataclass
        from typing import Generic, NamedTuple, TypeVar
        T = TypeVar("T")
        class Slotted:
            __slots__ = ("value", "__hidden")
            def __init__(self, value):
                self.value = value
                self.__hidden = value
            def hidden(self):
                return self.__hidden
        class More(Slotted):
            __slots__ = "more"
        class Open(Slotted):
            pass
        @dataclass(frozen=True, slots=True)
        class Frozen:
            value: int = 1
        class Named(NamedTuple):
            value: int
        Old = namedtuple("Old", "value")
        class Box(Generic[T], Slotted):
            __slots__ = ()
        class Empty:
            __slots__ = ()
        class Side(enum.Enum):
            __slots__ = ()
            LEFT = 1
        def tuples(item):
            return Named(1), Old(2), Box[int](3), Empty(), Side.LEFT
        def function(item):
            new = More(item.value)
            new.more = 3
            wide = Open(4)
            wide.extra = 5
            return item, new, wide, Frozen(6), hasattr(new, "__dict__")
    """)
    with sent_by_value([module]):
        data = dumps(module.function), dumps(module.Slotted(2))
        others = dumps(module.tuples)
    named, old, box, empty, side = elsewhere(tmp_path, others, data[1])
    assert (named, old, box.value, side) == (module.Named(1), module.Old(2), 3, module.Side.LEFT)
    assert [type(value) for value in (named, old, box, empty)] == [module.Named, module.Old, module.Box, module.Empty]
    item, new, wide, frozen, has_dict = elsewhere(tmp_path, *data)
    assert [type(item), type(new), type(wide)] == [module.Slotted, module.More, module.Open]
    assert (item.hidden(), new.value, new.more, wide.value, wide.extra) == (2, 2, 3, 4, 5)
    assert frozen == module.Frozen(6)
    assert not has_dict


def test_a_class_is_sent_once(dag_file: Any) -> None:
    """With ``collect`` a class is left out and named by its key, in this message and all later ones."""
    module = dag_file(DAG)
    by_key: set[type] = set()
    with sent_by_value([module]):
        first = dumps(module.Order("x"), by_key, collect=True)
        again = dumps(module.Order("y"), by_key)
        whole = dumps(module.Order("y"))
    assert by_key == {module.Order, module.Color}
    assert max(len(first), len(again)) < 300 < len(whole)
    assert loads(again) == module.Order("y")
    assert type(loads(first)) is module.Order


def test_a_collected_class_arrives_ahead(dag_file: Any, tmp_path: Path) -> None:
    """Items by key load in a process that was sent the classes before."""
    module = dag_file(DAG)
    by_key: set[type] = set()
    with sent_by_value([module]):
        item = dumps(module.Order("x"), by_key, collect=True)
        function = dumps(lambda _classes, order: (order, type(order)))
        classes = dumps(list(by_key))
    order, cls = elsewhere(tmp_path, function, classes, item)
    assert cls is module.Order
    assert order == module.Order("x")


def test_a_local_class_comes_back_as_itself(tmp_path: Path) -> None:
    """A class made inside a function is sent by value and comes back as the same class."""

    class Local:
        def __init__(self) -> None:
            self.x = 1

    with sent_by_value([THIS]):
        data = dumps(lambda item: item), dumps(Local())
    assert type(elsewhere(tmp_path, *data)) is Local


def test_a_cached_function_is_cached_there_too(dag_file: Any, tmp_path: Path) -> None:
    """A function under ``functools.cache`` would pickle as a name that no worker knows."""
    module = dag_file(DAG)
    with sent_by_value([module]):
        data = dumps(lambda fib: (fib(30), fib.__doc__, fib.__name__, fib.cache_info().hits)), dumps(module.fib)
    value, doc, name, hits = elsewhere(tmp_path, *data)
    assert (value, doc, name) == (832040, "Return a number.", "fib")
    assert hits > 0


@functools.cache
def cached(item: int) -> int:
    return item


def test_a_cached_function_of_a_module_goes_by_name() -> None:
    """One that a worker can import stays a reference."""
    assert loads(dumps(cached)) is cached


def test_types_by_name(dag_file: Any, tmp_path: Path) -> None:
    """A ``NewType`` or ``ParamSpec`` of the DAG file is rebuilt from its parts."""
    module = dag_file("""
        import typing
        UserId = typing.NewType("UserId", int)
        Rest = typing.ParamSpec("Rest")
        Many = typing.TypeVarTuple("Many")
        def function(item: UserId) -> Rest:
            return function.__annotations__["item"].__supertype__, Rest.__name__, Many.__name__
    """)
    with sent_by_value([module]):
        assert elsewhere(tmp_path, dumps(module.function), dumps(module.UserId)) == (int, "Rest", "Many")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a statement of Python 3.12")
def test_type_alias(dag_file: Any, tmp_path: Path) -> None:
    """A type alias is rebuilt from its parts."""
    module = dag_file("type Pair = tuple[int, int]\ndef function(item: Pair):\n    return Pair.__value__\n")
    with sent_by_value([module]):
        assert elsewhere(tmp_path, dumps(module.function), dumps(1)) == tuple[int, int]


def test_standard_streams_go_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sys.stderr`` as a default is the worker's own there, whatever it is here."""
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO()))
    with sent_by_value([THIS]):
        data = dumps(lambda item: item.fileno()), dumps(sys.stderr)
    assert elsewhere(tmp_path, *data) == 2


class RaisesLoading:
    def __init__(self, *parts: int) -> None:
        self.parts = parts

    def __setstate__(self, state: Any) -> None:
        raise KeyError


class Delegates:
    def __init__(self) -> None:
        self.inner = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class HashesByState:
    def __init__(self) -> None:
        self.name = "x"
        self.friends = {self}

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other


class Registered:
    def __init__(self, name: str) -> None:
        self.name = name


copyreg.pickle(Registered, lambda _: (Registered, ()))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (RaisesLoading, KeyError),
        (Delegates, RecursionError),
        (HashesByState, AttributeError),
        (lambda: Registered("x"), TypeError),
    ],
    ids=["__setstate__", "__getattr__", "__hash__", "copyreg"],
)
def test_verify_tries_to_load(make: Callable[[], Any], error: type[Exception]) -> None:
    """Where loading runs code of the user, *verify* runs it and so finds out."""
    value = make()
    dumps([value])
    with pytest.raises(error):
        dumps([value], verify=True)


class NeedsTwoError(Exception):
    def __init__(self, a: int, *, b: int) -> None:
        super().__init__(f"{a} {b}")
        self.b = b


def test_error_with_arguments_of_its_own() -> None:
    """An exception whose ``__init__`` takes other arguments than it hands on comes back whole, ``__init__`` not run."""
    error = loads(dumps(NeedsTwoError(1, b=2), verify=True))
    assert type(error) is NeedsTwoError
    assert (error.args, error.b, str(error)) == (("1 2",), 2, "1 2")


class Quiet:
    loaded = 0

    def __init__(self) -> None:
        self.x = 1


def test_verify_loads_nothing_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain data is known to load, and is not loaded to prove it."""
    monkeypatch.setattr("airflow_joblib.pickling.pickler.loads", None)
    dumps([Quiet(), {"a": (1, b"x")}, enum.Enum, len], verify=True)


def test_refuses_open_files() -> None:
    """An open file, whose text cloudpickle would embed, is refused; an in-memory one travels."""
    with open(__file__) as text, pytest.raises(RefusedError):  # noqa: PTH123
        dumps(text)
    with tempfile.NamedTemporaryFile("w") as named, pytest.raises(RefusedError):
        dumps([named])
    assert loads(dumps(io.StringIO("x"))).getvalue() == "x"
    assert loads(dumps(io.BytesIO(b"x"))).getvalue() == b"x"


def test_refuses_what_a_worker_cannot_import(ghost: Any) -> None:
    """A reference to a module that only this process has is refused, in whatever form it comes."""
    module = ghost("class Spirit:\n    pass\ndef haunt():\n    pass\n")
    for value in (module, module.Spirit, module.Spirit(), module.haunt):
        with pytest.raises(UnimportableError) as caught:
            dumps([value])
        assert caught.value.module == "ghost"


class ByName:
    def __init__(self, module: str) -> None:
        self.__module__ = module

    def __reduce__(self) -> str:
        return "instance"


def test_refuses_a_name_in_such_a_module(ghost: Any) -> None:
    """An object that reduces to a name in it is refused too."""
    ghost("x = 1").instance = ByName("ghost")
    with pytest.raises(UnimportableError):
        dumps(sys.modules["ghost"].instance)


@pytest.mark.parametrize(
    ("kind", "name"), [(int, "int"), (io.StringIO, "_io.StringIO"), (ByName, f"{__name__}.ByName")]
)
def test_dotted_name(kind: type, name: str) -> None:
    """A type goes by module and qualified name, a builtin by the latter."""
    assert dotted_name(kind) == name
