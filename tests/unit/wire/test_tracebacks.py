"""Tracebacks that cross from a worker to the task."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import pytest

from airflow_joblib.wire.tracebacks import put_together, taken_apart


def inner(how: str) -> None:
    try:
        dict[str, str]()["key"]
    except KeyError as error:
        if how == "cause":
            raise ValueError("outer") from error
        if how == "context":
            raise ValueError("outer")  # noqa: B904
        raise ValueError("outer") from None


def raised(how: str) -> ValueError:
    try:
        inner(how)
    except ValueError as error:
        return error
    raise AssertionError


def crossed(error: BaseException) -> BaseException:
    trace = taken_apart(error, lambda other: other)
    arrived, arrived_trace = pickle.loads(pickle.dumps((error, trace)))
    return put_together(arrived, arrived_trace)


def lines(error: BaseException) -> list[str]:
    """The text of a traceback, without the marks of columns."""
    text = "".join(traceback.format_exception(error))
    return [line for line in text.splitlines() if set(line) - set(" ~^|")]


@pytest.mark.parametrize("how", ["cause", "context", "none"])
def test_round_trip(how: str) -> None:
    """What arrives is shown as it was raised: frames, source lines, cause and context."""
    error = raised(how)
    was, suppressed = lines(error), error.__suppress_context__
    arrived = crossed(error)
    assert arrived is not error
    assert lines(arrived) == was
    assert arrived.__suppress_context__ == suppressed


def test_group() -> None:
    """The members of a group have tracebacks too."""
    group = ExceptionGroup("several", [raised("cause"), raised("none")])
    was = lines(group)
    assert lines(crossed(group)) == was


def test_circle() -> None:
    """A chain that is a circle ends."""
    first, second = raised("none"), raised("none")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(crossed(first).__cause__, ValueError)


def test_deep_recursion() -> None:
    """Of a very deep traceback both ends arrive."""

    def deeper(depth: int) -> Any:
        return deeper(depth - 1) if depth else inner("none")

    with pytest.raises(ValueError, match="outer") as caught:
        deeper(500)
    names = [frame.name for frame in traceback.extract_tb(crossed(caught.value).__traceback__)]
    assert len(names) == 200
    assert (names[0], names[-1]) == ("test_deep_recursion", "inner")


def test_raised_again() -> None:
    """Raised in the task, the exception has the task's frames first and the worker's last."""
    with pytest.raises(ValueError, match="outer") as caught:
        raise crossed(raised("none"))
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)] == [
        "test_raised_again",
        "raised",
        "inner",
    ]
