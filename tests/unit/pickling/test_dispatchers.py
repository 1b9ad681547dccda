"""Functions of a DAG file under ``functools.singledispatch`` in fresh workers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import check_function
from tests.unit.helpers import task

SOURCE = """
import abc, functools, threading
from dataclasses import dataclass


class Sized(abc.ABC): ...


@Sized.register
@dataclass
class Box:
    parts: list


@functools.singledispatch
def render(value, *more):
    "Shows a value."
    return "any"


@render.register
def _(value: int):
    return "int"


@render.register(list)
def _(value):
    return [render(each) for each in value]


@render.register
def _(value: Sized):
    return render(value.parts)


render.told = 5


class Shower:
    def __init__(self, value):
        self.value = value

    @functools.singledispatchmethod
    def show(self, value):
        return ["any", self.value]

    @show.register
    def _(self, value: int):
        return ["int", self.value]


LOCK = threading.Lock()


@functools.singledispatch
def guarded(value):
    return 1


@guarded.register
def locked(value: int):
    with LOCK:
        return 2


def work(n):
    @render.register
    def _(value: set):
        return "set"

    failed = ""
    try:
        render()
    except TypeError as error:
        failed = str(error)
    return [render(n), render([n, "a", [n]]), render(Box([n])), render.told, render.__doc__, render.__name__, failed,
            render({n}), render.dispatch(bool)(1), Shower(n).show(n), Shower(n).show("a")]


def with_lock(n):
    return guarded(n)
"""


def test_dispatches(dag_file: Any) -> None:
    """What is registered for a type is chosen as in the task, for methods too, and more can be registered."""
    module = dag_file(SOURCE)
    want = [module.work(1), module.work(2)]
    assert task(module.work, backend="loky").map([1, 2]) == want


def test_what_cannot_travel_of_it(dag_file: Any) -> None:
    """What can't travel of a registered function is named by its path."""
    with pytest.raises(NotPicklableError) as caught:
        check_function(dag_file(SOURCE).with_lock, {})
    (culprit,) = caught.value.culprits
    assert culprit.path == "with_lock → global 'guarded' → registered for int → global 'LOCK'"
