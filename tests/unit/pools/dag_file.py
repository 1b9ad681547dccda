"""A DAG file's functions, most of which a worker that is rebuilt from pickles gets wrong.

Right is what a plain loop gives, on every backend whose workers are the task.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import decimal
import enum
import functools
import json
import locale
import logging
import os
import pickle
import random
import re
import socket
import sys
import threading
import typing
import warnings
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from dataclasses import MISSING, dataclass, field, fields
from types import SimpleNamespace

decimal.getcontext().prec = 40
socket.setdefaulttimeout(12.5)
json.JSONEncoder.indent = 7
os.environ["OF_THE_DAG_FILE"] = "yes"
sys.setrecursionlimit(1234)
logging.getLogger("of_the_dag_file").setLevel(37)
warnings.filterwarnings("error", category=UserWarning, message="of the DAG file")
re.of_the_dag_file = 1  # type: ignore[attr-defined]
random.seed(5)


@dataclass
class Base:
    id: int
    tags: list[int] = field(default_factory=list)


class Planet(enum.Enum):
    EARTH = (5, 6)
    WORLD = (5, 6)  # noqa: PIE796 - an alias

    def __init__(self, mass: int, radius: int) -> None:
        self.mass = mass
        self.radius = radius


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


class Plugin:
    found: typing.ClassVar[list[str]] = []

    def __init_subclass__(cls) -> None:
        Plugin.found.append(cls.__name__)


class First(Plugin): ...


class Second(Plugin): ...


class Registered(type):
    all: typing.ClassVar[list[str]] = []

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, typing.Any], *, table: str = "") -> typing.Any:
        made = super().__new__(mcs, name, bases, body)
        made.table = table  # type: ignore[attr-defined]
        Registered.all.append(name)
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], body: dict[str, typing.Any], *, table: str = "") -> None:
        super().__init__(name, bases, body)


class Orders(metaclass=Registered, table="orders"): ...


class Shape(abc.ABC): ...  # noqa: B024 - it has a virtual subclass


@Shape.register
class Circle: ...


Point = namedtuple("Point", "x y")  # noqa: PYI024
UNSET = object()
CELL = SimpleNamespace(value=3)
counter = [0]
counter[0] += 1


def deprecated(function: typing.Any) -> typing.Any:
    @functools.wraps(function)
    def call(*args: typing.Any) -> typing.Any:
        return function(*args)

    call.told = True  # type: ignore[attr-defined]
    return call


@functools.cache
def cached(n: int) -> int:
    return n * 2


cached(1)


@deprecated
def wrapped(n: int) -> int:
    return n + 1


def double(n: int) -> int:
    return 2 * n


class Tree:
    kept: typing.ClassVar[dict[str, int]] = {}

    @functools.cached_property
    def depth(self) -> int:
        return 4

    @staticmethod
    def still(n: int) -> int:
        return n

    def __eq__(self, other: object) -> bool:
        return type(other) is Tree

    def __hash__(self) -> int:
        return 7


Tree.kept["a"] = 1
TREE = Tree()


def required(n: int) -> object:
    return [f.name for f in fields(Base) if f.default is MISSING and f.default_factory is MISSING]


def derived(n: int) -> object:
    @dataclass
    class Sub(Base): ...

    return Sub(n).tags


def enum_attribute(n: int) -> object:
    return Planet.EARTH.mass


def enum_alias(n: int) -> object:
    same = Planet.WORLD is Planet.EARTH  # type: ignore[comparison-overlap]
    return same, [member.name for member in Planet], list(Planet.__members__)


def enum_by_value(n: int) -> object:
    return Planet((5, 6)).name  # type: ignore[arg-type, call-arg]


def flag(n: int) -> object:
    return (Flags.A | Flags.B).value


def registry(n: int) -> object:
    return Plugin.found


def metaclass_registry(n: int) -> object:
    return Registered.all, Orders.table  # type: ignore[attr-defined]


def subclasses(n: int) -> object:
    return [c.__name__ for c in Plugin.__subclasses__()]


def virtual_subclass(n: int) -> object:
    return isinstance(Circle(), Shape)


def standard_pickle(n: int) -> object:
    return pickle.loads(pickle.dumps(Base(n))).id


def pickled_function(n: int) -> object:
    return pickle.loads(pickle.dumps(double))(n)


def pickled_class_is_itself(n: int) -> object:
    return type(pickle.loads(pickle.dumps(Base(n)))) is Base


def nested_pool(n: int) -> object:
    with ProcessPoolExecutor(1) as pool:
        return list(pool.map(double, [n]))


def hints(n: int) -> object:
    return sorted(typing.get_type_hints(Base))


def own_globals(n: int) -> object:
    return globals()["double"](n)


def evaluated(n: int) -> object:
    return eval("double(3)")


def executed(n: int) -> object:
    found: dict[str, typing.Any] = {}
    exec("made = double(4)", globals(), found)
    return found["made"]


def sentinel(n: int, given: object = UNSET) -> object:
    return given is UNSET


def sentinel_inside(n: int) -> object:
    return {"k": UNSET}["k"] is UNSET


def precision(n: int) -> object:
    return len(str(decimal.Decimal(1) / 3))


def socket_timeout(n: int) -> object:
    return socket.getdefaulttimeout()


def monkeypatched(n: int) -> object:
    return json.JSONEncoder.indent, re.of_the_dag_file  # type: ignore[attr-defined]


def environment(n: int) -> object:
    return os.environ["OF_THE_DAG_FILE"]


def recursion(n: int) -> object:
    return sys.getrecursionlimit()


def level(n: int) -> object:
    return logging.getLogger("of_the_dag_file").level


def filtered(n: int) -> object:
    try:
        warnings.warn("of the DAG file", UserWarning, stacklevel=1)
    except UserWarning:
        return "raised"
    return "shown"


def where(n: int) -> object:
    return where.__code__.co_filename.rpartition("/")[2], where.__code__.co_firstlineno > 0


def warned(n: int) -> object:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("x", stacklevel=1)
    return caught[0].filename.rpartition("/")[2]


def source(n: int) -> object:
    import inspect

    return inspect.getsource(double)


def module_is_there(n: int) -> object:
    return sys.modules[__name__].double is double, sys.modules[double.__module__].__name__ == __name__


def memory_of_a_cache(n: int) -> object:
    return cached.cache_info().currsize > 0, cached(1)


def attribute_of_a_function(n: int) -> object:
    return wrapped.told, wrapped(n)


def named_tuple(n: int) -> object:
    return Point(n, 2)._asdict()


def module_object(n: int) -> object:
    return CELL.value, TREE.depth, Tree() == TREE, Tree.still(n), Tree.kept


def counted_once(n: int) -> object:
    return counter


def class_is_itself(n: int) -> object:
    return type(TREE) is Tree, Base.__module__ == __name__, Tree.__qualname__


def local_class(n: int) -> object:
    class Local:
        value = n

    return Local().value, Local.__qualname__


def closure(n: int) -> object:
    held = [n]
    inner: typing.Any = lambda: held[0] + double(1)  # noqa: E731
    return inner()


def partial(n: int) -> object:
    return functools.partial(double, n)()


def context_manager(n: int) -> object:
    @contextlib.contextmanager
    def opened() -> typing.Iterator[int]:
        yield n

    with opened() as value:
        return value


def main_thread(n: int) -> object:
    return threading.current_thread() is threading.main_thread()


def locale_of(n: int) -> object:
    return locale.setlocale(locale.LC_ALL)


def signalled(n: int) -> object:
    import signal

    return signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


def dataclass_tools(n: int) -> object:
    return dataclasses.asdict(Base(n)), dataclasses.replace(Base(n), id=9).id


def json_dumped(n: int) -> object:
    return json.dumps(dataclasses.asdict(Base(n)))


ALL = [
    value
    for value in list(globals().values())
    if type(value) is type(double)
    and value.__module__ == __name__
    and value.__code__.co_varnames[:1] == ("n",)
    and value.__name__ not in {"double", "wrapped", "call"}
]
