"""Classes whose statement had keywords, which nothing of the class tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from cloudpickle.cloudpickle import _make_skeleton_class

from airflow_joblib.pickling.hooks import make_class, received
from tests.unit.helpers import PROCESSES, overlapping, task

if TYPE_CHECKING:
    from collections.abc import Callable


class Strict(type):
    """A metaclass that wants a keyword."""

    def __new__(mcs, name: str, bases: tuple[type, ...], own: dict[str, Any], *, table: str) -> Any:
        made: Any = super().__new__(mcs, name, bases, own)
        made.table = table
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], own: dict[str, Any], *, table: str) -> None:
        super().__init__(name, bases, own)


class Base:
    """A base whose subclasses want a keyword."""

    table: str

    def __init_subclass__(cls, *, table: str) -> None:
        cls.table = table


class Slotted:
    __slots__ = ("a",)

    def __init_subclass__(cls, *, table: str) -> None: ...


class Error(ValueError):
    def __init_subclass__(cls, *, table: str) -> None: ...


@pytest.mark.parametrize(
    ("metaclass", "bases"),
    [
        (Strict, ()),
        (Strict, (int,)),
        (Strict, (dict,)),
        (type, (Base,)),
        (type, (Slotted,)),
        (type, (Error,)),
        (type, (Base, Error)),
    ],
)
def test_hooks_that_want_keywords_are_left_out(metaclass: type, bases: tuple[type, ...]) -> None:
    """A class that can't be made by its statement again is made without the hooks, with its metaclass and bases."""
    made = make_class(_make_skeleton_class, (metaclass, "Made", bases, {"__module__": "there"}, None, None))
    assert (type(made), made.__name__, made.__module__) == (metaclass, "Made", "there")
    assert made.__bases__ == (bases or (object,))


def test_other_errors() -> None:
    """What a metaclass refuses for another reason is raised."""

    class Refusing(type):
        def __new__(mcs, *_: object, **__: object) -> Any:
            raise ValueError("never")

    with pytest.raises(ValueError, match="never"):
        make_class(_make_skeleton_class, (Refusing, "Made", (), {}, None, None))


@pytest.mark.parametrize("backend", PROCESSES)
def test_in_workers(backend: str) -> None:
    """In workers such classes are what they are in the task."""

    class Orders(metaclass=Strict, table="orders"):
        table: str

    class Items(Base, table="items"): ...

    work = task(lambda item: (item, Orders.table, Items.table, isinstance(Items(), Base)), backend=backend)
    assert work([1, 2]) == [(1, "orders", "items", True), (2, "orders", "items", True)]


class OnlyHere:
    """Can be loaded in the process that made it, and in no other."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __reduce__(self) -> Any:
        return load_here, (self.home,)


def load_here(home: int) -> OnlyHere:
    if os.getpid() != home:
        raise LookupError("not here")
    return OnlyHere()


def test_what_a_worker_cannot_load() -> None:
    """What fails as a worker loads the function is named as that: no item is blamed, and none has run."""
    here = OnlyHere()

    with pytest.raises(LookupError, match="not here") as caught:
        task(lambda item: (item, here), backend="loky", max_failures=1, item_retries=1)([1, 2])
    (note,) = caught.value.__notes__
    assert note.startswith("Raised while the function <lambda> was loaded in worker ")
    assert "item -1" not in note


class Hooked:
    """As one that was sent."""

    def __init_subclass__(cls) -> None:
        cls.hook_ran = True  # type: ignore[attr-defined]


def test_two_threads_make_classes() -> None:
    """Each skips the hook of a base while it makes its own; the last that is done puts it back."""
    received.add(Hooked)

    def make(wait: Callable[[], None]) -> type:
        def make_it(_: type, name: str, bases: tuple[type, ...], own: dict[str, object]) -> type:
            wait()
            return type(name, bases, own)

        return make_class(make_it, (type, "Made", (Hooked,), {}))

    before = vars(Hooked)["__init_subclass__"]
    for made in overlapping(make):
        assert not hasattr(made, "hook_ran")
    assert vars(Hooked)["__init_subclass__"] is before
