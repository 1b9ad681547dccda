"""Everything that can be defined in a DAG file, used in workers and sent back."""

from __future__ import annotations

import enum
import os
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

FACTOR = 10
NAMES = {"left": "links", "right": "rechts"}

Pair = namedtuple("Pair", "first second")  # noqa: PYI024


class Colour(enum.Enum):
    """An enumeration."""

    RED = 1
    GREEN = 2


@dataclass(frozen=True)
class Point:
    """A dataclass with a method."""

    x: int
    y: int = 0

    def scaled(self) -> Point:
        """A new one, by way of a constant and a helper."""
        return Point(grown(self.x), grown(self.y))


class Base:
    """A class to derive from."""

    def __init__(self, number: int) -> None:
        self.number = number

    def double(self) -> int:
        """Twice the number."""
        return 2 * self.number


class Derived(Base):
    """Uses super()."""

    def double(self) -> int:
        """One more."""
        return super().double() + 1


class OwnError(Exception):
    """An exception with more than a message."""

    def __init__(self, number: int, *, code: str) -> None:
        super().__init__(f"number {number} is refused")
        self.number = number
        self.code = code


def grown(number: int) -> int:
    """A helper that uses a constant."""
    return number * FACTOR


add_one = partial(lambda step, number: step + number, 1)


@parallel_task
def scale(point: Point) -> Point:
    """From and to an object of this file."""
    return point.scaled()


@parallel_task
def mixed(number: int) -> dict[str, Any]:
    """Use all sorts of things of this file."""
    return {
        "grown": grown(number),
        "name": NAMES["left"],
        "colour": Colour(number % 2 + 1),
        "pair": Pair(number, add_one(number)),
        "double": Derived(number).double(),
        "worker": os.getpid(),
    }


@parallel_task
def refuse(number: int) -> int:
    """Raise an exception of this file on one item."""
    if number == 3:
        raise OwnError(number, code="E3")
    return number


@task
def objects_come_back() -> dict[str, Any]:
    """Results are of the very classes of this process, and equal what they should be."""
    points = scale.map([Point(n, n + 1) for n in range(20)])
    return {
        "are_points": all(type(point) is Point for point in points),
        "right": points == [Point(10 * n, 10 * n + 10) for n in range(20)],
    }


@task
def all_sorts() -> dict[str, Any]:
    """Identity of enumeration members, type of named tuples, and the plain values."""
    results = mixed.map(range(40))
    return {
        "members": all(r["colour"] is Colour(n % 2 + 1) for n, r in enumerate(results)),
        "pairs": all(type(r["pair"]) is Pair and r["pair"] == (n, n + 1) for n, r in enumerate(results)),
        "values": [(r["grown"], r["double"], r["name"]) for r in results[:3]],
        "elsewhere": all(r["worker"] != os.getpid() for r in results),
    }


@task
def own_error() -> dict[str, Any]:
    """The exception arrives as itself, to be caught by its type, with a note that names the item."""
    try:
        refuse.map(range(6))
    except OwnError as error:
        return {"number": error.number, "code": error.code, "text": str(error), "notes": "\n".join(error.__notes__)}
    return {}


@dag(schedule=None)
def by_value() -> None:
    """Three tasks, one after the other: they want the same two processors."""
    objects_come_back() >> all_sorts() >> own_error()


by_value()
