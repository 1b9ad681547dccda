"""Classes of a DAG file whose bases and metaclasses have every class do something: that is not done twice."""

from __future__ import annotations

from typing import Any

from tests.unit.helpers import ONE_WORKER, task

SOURCE = """
import abc, enum
from dataclasses import dataclass

ALL, MADE, SEEN, NAMED = [], [], [], {}


class Plugin:
    found, kinds = [], {}

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        Plugin.found.append(cls.__name__)
        Plugin.kinds[cls.__name__] = cls
        ALL.append(cls)
        cls.number = len(Plugin.found)


class A(Plugin): ...
class B(A): ...
class Slotted(Plugin):
    __slots__ = ("x",)
class Error(Plugin, ValueError): ...


class Meta(type):
    seen = []

    def __new__(mcs, name, bases, own, **keywords):
        made = super().__new__(mcs, name, bases, own)
        mcs.seen.append(name)
        MADE.append(made)
        return made

    def __init__(cls, name, bases, own, table=None):
        super().__init__(name, bases, own)
        SEEN.append(name)
        cls.table = table


class Orders(metaclass=Meta, table="orders"): ...
class Lines(Orders, table="lines"): ...


class Abstract(abc.ABCMeta):
    made = []

    def __init__(cls, *args):
        super().__init__(*args)
        Abstract.made.append(cls.__name__)


class Shape(metaclass=Abstract):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def area(self):
        return 4


@Shape.register
class Circle: ...


class Field:
    order = []

    def __set_name__(self, owner, name):
        self.name = name
        Field.order.append(name)
        NAMED[name] = self

    def __get__(self, obj, owner=None):
        return self.name


class Record:
    a, b = Field(), Field()


class Choice(enum.Enum):
    def __init_subclass__(cls):
        ALL.append(cls.__name__)


class Colour(Choice):
    RED = 1


class KindMeta(enum.EnumMeta):
    made = []

    def __new__(mcs, *args, **keywords):
        made = super().__new__(mcs, *args, **keywords)
        KindMeta.made.append(made.__name__)
        return made


class Kind(enum.Enum, metaclass=KindMeta):
    X = 1


def hooked(n):
    return [Plugin.found, list(Plugin.kinds), Plugin.kinds["B"] is B, A.number, B.number, issubclass(B, A),
            len(ALL), [each for each in ALL if type(each) is str], Slotted.number, isinstance(Error("x"), ValueError),
            Colour.RED.value, hasattr(Slotted(), "__dict__")]


def by_metaclass(n):
    return [Meta.seen, [each.__name__ for each in MADE], SEEN, Orders.table, Lines.table, MADE[1] is Lines]


def abstract(n):
    try:
        Shape()
    except TypeError:
        return [Abstract.made, Square().area(), isinstance(Circle(), Shape), issubclass(Square, Shape)]


def named(n):
    return [Field.order, list(NAMED), Record.a, Record().b, NAMED["a"] is vars(Record)["a"]]


def enumerated(n):
    return [KindMeta.made, Kind.X.name, type(Kind) is KindMeta, Kind(1) is Kind.X]


def goes_on(n):
    before = len(Plugin.found)

    class Later(B): ...

    class Table(Orders, table="later"): ...

    return [Plugin.found[before:], Later.number - before, Table.table, Meta.seen[-1]]


def of_items(item):
    return [type(item).__name__, item.number, Plugin.found]
"""
NAMES = ["hooked", "by_metaclass", "abstract", "named", "enumerated"]


def test_done_once(dag_file: Any) -> None:
    """Registries that hooks fill hold in a worker what they hold in the task, and each class is what hooks made it."""
    module = dag_file(SOURCE)
    function = dag_file("def work(name):\n    return functions[name](2)\nfunctions = {}", "other").work
    function.__globals__["functions"].update({name: vars(module)[name] for name in NAMES})
    want = [vars(module)[name](2) for name in NAMES]
    assert task(function, backend="loky", **ONE_WORKER).map(NAMES) == want


def test_hooks_go_on(dag_file: Any) -> None:
    """A class that an item defines meets the hooks as ever."""
    module = dag_file(SOURCE)
    assert task(module.goes_on, backend="loky", **ONE_WORKER).map([1, 2]) == [[["Later"], 1, "later", "Table"]] * 2


def test_classes_of_items(dag_file: Any) -> None:
    """Classes that only items have don't fill the registry that came with the function."""
    module = dag_file(SOURCE)
    items = [module.A(), module.B()]
    assert task(module.of_items, backend="loky", **ONE_WORKER).map(items) == [module.of_items(item) for item in items]
