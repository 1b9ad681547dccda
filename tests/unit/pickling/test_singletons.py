"""Singletons and members of an ``Enum`` that reach a worker of loky from a DAG file."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.helpers import ONE_WORKER, task

SOURCE = """
import dataclasses
import enum
import functools


class Kind:
    pass


class Slotted:
    __slots__ = ()


class Only:
    made = None

    def __new__(cls):
        cls.made = cls.made or super().__new__(cls)
        return cls.made


class Restored:
    def __getstate__(self):
        return 1

    def __setstate__(self, state):
        self.state = state


UNSET, KIND, SLOTTED, ONLY, RESTORED = object(), Kind(), Slotted(), Only(), Restored()
BY_NAME = {"only": ONLY, "unset": UNSET, "kind": KIND, "slotted": SLOTTED, "MISSING": dataclasses.MISSING}


class Planet(enum.Enum):
    EARTH = (5, 6)
    WORLD = (5, 6)
    MARS = (6, 4)

    def __init__(self, mass, radius):
        self.mass = mass
        self.family = [type(self), radius]


class Colour(bytes, enum.Enum):
    RED = (1, "red")
    BLUE = (2, "blue")

    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_ = label
        made.label = label.title()
        return made


class Numbered(enum.Enum):
    def __new__(cls, *args):
        made = object.__new__(cls)
        made._value_ = len(cls.__members__) + 1
        return made

    A = ()
    B = ()


class Access(enum.IntFlag):
    READ = 4
    WRITE = 2
    BOTH = 6


class Pair(tuple, enum.Enum):
    ONE = (1, 2)


class Text(enum.StrEnum):
    X = enum.auto()
    Y = X


@dataclasses.dataclass
class Data:
    size: int


class Mixed(Data, enum.Enum):
    SMALL = 1
    LARGE = 9


class Action(enum.Enum):
    DOUBLE = enum.member(lambda x: 2 * x)
    PART = enum.member(functools.partial(pow, 2))

    def apply(self, x):
        return self.value(x)


@dataclasses.dataclass
class Base:
    id: int
    tags: list = dataclasses.field(default_factory=list)


def is_same(item):
    name, given = item
    return given is {**globals_of(), "MISSING": dataclasses.MISSING}[name]


def globals_of():
    return {"only": Only(), "unset": UNSET, "kind": KIND, "slotted": SLOTTED}


def is_shared(item, given):
    return given is BY_NAME[item]


def restored(item):
    return item.state


def give(item):
    return {**globals_of(), "MISSING": dataclasses.MISSING}[item]


def derived(item):
    @dataclasses.dataclass
    class Sub(Base):
        pass

    return Sub(item).tags


def members(item):
    return [
        [each.mass for each in Planet], Planet.EARTH.family[0] is Planet, Planet.WORLD is Planet.EARTH,
        Planet((6, 4)).name,
        [(bytes(each), each.value, each.label) for each in Colour], Colour("red").name, len(Planet.__members__),
        [each.value for each in Numbered], Numbered(2).name,
        [each.name for each in Access], int(Access.BOTH), Access.READ | Access.WRITE is Access.BOTH, repr(Access(6)),
        tuple(Pair.ONE), Pair((1, 2)).name, f"{Text.X} {Text.Y.name}", Mixed.LARGE.size, repr(Mixed.SMALL),
        Action.DOUBLE.apply(item), Action.PART.apply(item), hash(Planet.EARTH) == hash("EARTH"),
    ]


def give_members(item):
    return [Planet.MARS, Colour.BLUE, Access.BOTH, Action.PART, Mixed.SMALL]
"""
NAMES = ["only", "unset", "kind", "slotted", "MISSING"]


@pytest.fixture
def loky(dag_file: Any) -> Any:
    """Run a function of the DAG file in a fresh worker."""
    module = dag_file(SOURCE)

    def run(name: str, items: list[Any], **shared: Any) -> Any:
        return task(getattr(module, name), backend="loky", **ONE_WORKER).map(items, **shared)

    run.module = module  # type: ignore[attr-defined]
    return run


def test_items(loky: Any) -> None:
    """A singleton among the items is in a worker the one that the function knows by its name."""
    assert loky("is_same", [(name, loky.module.BY_NAME[name]) for name in NAMES]) == [True] * 5


def test_shared_argument(loky: Any) -> None:
    """So is one that is a shared argument."""
    assert loky("is_shared", ["unset", "kind"], given=loky.module.UNSET) == [True, False]
    assert loky("is_shared", ["kind", "unset"], given=loky.module.KIND) == [True, False]


def test_results(loky: Any) -> None:
    """One that comes back is the task's own."""
    found = loky("give", NAMES)
    assert all(got is loky.module.BY_NAME[name] for got, name in zip(found, NAMES, strict=True))


def test_objects_of_the_same_type(loky: Any) -> None:
    """What has no name stays another object, and what restores itself does so."""
    assert loky("is_same", [("kind", loky.module.Kind()), ("unset", object())]) == [False, False]
    assert loky("restored", [loky.module.RESTORED] * 2) == [1, 1]


def test_dataclass_made_in_a_worker(loky: Any) -> None:
    """A dataclass that a worker derives from one of the DAG file has its fields' defaults."""
    assert loky("derived", [1, 2]) == [[], []]


def test_enum_members(loky: Any) -> None:
    """Members have their attributes, aliases, and what their own ``__new__`` made, equal to their value or not."""
    assert loky("members", [3, 4]) == [loky.module.members(3), loky.module.members(4)]


def test_enum_members_come_back(loky: Any) -> None:
    """Members that come back are the task's own."""
    assert all(a is b for a, b in zip(loky("give_members", [1, 1])[0], loky.module.give_members(1), strict=True))
