"""What went wrong while a file was loaded is pointed at in its text."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest

from airflow_joblib.cli.findings import Place
from airflow_joblib.cli.positions import Positions

SOURCE = """\
import lib
one = two = 1
(three, four) = 1, 2
try:
    five: int = 5
except ImportError:
    five = 6
with lib as six:
    pass


def save(item, seven=one):
    return two


def outer():
    eight = 8

    @lib.decorate(
        option=3,
    )
    def inner(item, *, nine):
        return eight

    return inner
"""


@pytest.fixture
def positions() -> Positions:
    return Positions("f.py", ast.parse(SOURCE))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("inner", 22),
        ("inner → closure 'eight'", 17),
        ("inner → parameter 'nine'", 22),
        ("inner → global 'two'", 2),
        ("inner → global 'three' → Lock.inner", 3),
        ("inner → global 'five'", 7),
        ("inner → global 'six'", 8),
        ("inner → global 'lib' → attribute 'x'", 1),
        ("inner → global 'save'", 12),
        ("inner → global 'save' → default 'seven'", 12),
        ("inner → global 'save' → global 'one'", 2),
        ("inner → global 'missing'", 22),
        ("inner → self → Order.lock", 22),
    ],
)
def test_culprits(positions: Positions, path: str, line: int) -> None:
    """A culprit is where the last part of its path is made that the source names."""
    assert positions.of_culprit(path, 19).line == line


def test_function_that_is_not_there(positions: Positions) -> None:
    """Where no function begins, the line itself is the place."""
    assert positions.of_culprit("lambda → global 'one'", 2) == Place(2, 1, 2)


def test_decorators(positions: Positions) -> None:
    """An option of a decorator is found by its function, with its value where that is a literal."""
    assert positions.of_decorator(19, "option") == Place(20, 9, 20)
    assert positions.literal(19, "option") == 3
    assert positions.of_decorator(19, "other") is None
    assert positions.literal(19, "other") is None


CALLS = """\
def make(**options):
    found.append(positions.of_option("b", sys._getframe()))
    return make

make(a=1, b=2)
make(
    a=1,
    b=2,
)
make(a=1)(b=2)(a=3)
make(**{"b": 2})
"""


def test_options_of_calls() -> None:
    """An option is where the call gives it that is under way, and the call itself where it does not name it."""
    positions = Positions("calls.py", ast.parse(CALLS))
    found: list[Place] = []
    namespace: dict[str, Any] = {"found": found, "positions": Inside(positions), "sys": sys}
    exec(compile(CALLS, "calls.py", "exec"), namespace)
    assert [(place.line, place.column) for place in found] == [(5, 11), (8, 5), (10, 1), (10, 11), (10, 1), (11, 1)]


class Inside:
    """Looks from the call of a function, as a decorator of another file does."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions

    def of_option(self, name: str, frame: Any) -> Place:
        return self._positions.of_option(name, frame.f_back)


def test_errors() -> None:
    """An error is in the innermost line of the file, whatever it has gone through."""
    code = "import json\n\ndef f():\n    return json.loads('{')\n\nx = f()\n"
    try:
        exec(compile(code, "errors.py", "exec"), {})
    except ValueError as error:
        assert Positions("errors.py", ast.parse(code)).of_error(error).line == 4
        assert Positions("other.py", ast.parse(code)).of_error(error) == Place(1, 1, 1)
    else:
        pytest.fail("nothing was raised")
