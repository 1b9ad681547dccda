"""Items that failed for good: how many are tolerated, the records of them, and the error that ends a run."""

from __future__ import annotations

import json
import logging
import traceback

import pytest

from airflow_joblib import TooManyFailuresError
from airflow_joblib.failures import Failures, explained
from airflow_joblib.outcomes import ItemError


def failures(number: int, most: float) -> Failures:
    """Make so many failures, of which *most* are tolerated."""
    found = Failures("thumbnail", most)
    for index in range(number):
        found.add(failure(index), 3, 4711)
    return found


def failure(index: int) -> ItemError:
    try:
        raise LookupError(f"no {index}")
    except LookupError as error:
        return ItemError(index, error, f"'item {index}'", traceback=f"Traceback in the worker of {index}\n")


@pytest.mark.parametrize(
    ("most", "total", "tolerated"),
    [
        (1, 100, 1),
        (3, 100, 3),
        (3, None, 3),
        (0.1, 100, 10),
        (0.1, 99, 9),
        (0.1, 5, 0),
        (0.29, 100, 29),  # 0.29 * 100 is 28.999999999999996
        (0.5, 3, 1),
        (0.999, 1000, 999),
    ],
)
def test_tolerance(most: float, total: int | None, tolerated: int) -> None:
    """A count is a count, a fraction is that of all items, rounded down."""
    failures(tolerated, most).check(total)
    with pytest.raises(TooManyFailuresError) as caught:
        failures(tolerated + 1, most).check(total)
    error = caught.value
    assert (error.failed, error.total, error.tolerated) == (tolerated + 1, total, tolerated)
    of = f"{tolerated + 1:,}" + (f" of {total:,}" if total else "")
    assert str(error).startswith(f"{of} items failed for good, and max_failures tolerates {tolerated}; ")


def test_fraction_of_a_lazy_input() -> None:
    """A fraction of an unknown number is no number: it is looked at once the input is at its end."""
    found = failures(50, 0.1)
    found.check(None)
    with pytest.raises(TooManyFailuresError):
        found.check(499)
    found.check(500)


def test_records() -> None:
    """A record says which item, what it raised, in words, and after how many tries; it is plain data."""
    found = failures(2, 10)
    assert found.records[1] == {
        "index": 1,
        "item": "'item 1'",
        "error_type": "LookupError",
        "message": "no 1",
        "tries": 3,
    }
    assert json.loads(json.dumps(found.records)) == found.records


class OwnError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_record_of_a_broken_exception() -> None:
    """An exception that can't say what it is has an empty message, and its type by its full name."""
    found = Failures("thumbnail", 1)
    found.add(ItemError(5, OwnError(), "5"), 1, 1)
    (record,) = found.records
    assert record["message"] == ""
    assert record["error_type"].endswith("test_failures.OwnError")


def test_group() -> None:
    """The error that ends the run is caused by a group of the first failures, each with its note and traceback."""
    with pytest.raises(TooManyFailuresError) as caught:
        failures(20, 2).check(100)
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert "the first of 20 failures" in str(group)
    assert 3 <= len(group.exceptions) < 20
    assert group.exceptions[2].__notes__ == ["Raised by item 2 ('item 2') on try 3 in worker 4711."]
    shown = "".join(traceback.format_exception(caught.value))
    assert "Traceback in the worker of 0" in shown
    assert "LookupError: no 1" in shown
    assert shown.index("LookupError") < shown.index("20 of 100 items failed for good")


def test_first_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first failures are in the log with their tracebacks, at warning level, and the others are not."""
    caplog.set_level(logging.WARNING, logger="airflow_joblib")
    failures(30, 100)
    assert 3 <= len(caplog.records) < 30
    assert caplog.messages[1] == "thumbnail: item 1 failed for good: LookupError: no 1"
    assert "Traceback in the worker of 1" in caplog.text


def test_note_of_a_resource() -> None:
    """The failure of a resource names the resource, and no item."""
    error = explained(ItemError(-1, ValueError("no"), resource="conn"), 1, 12)
    assert error.__notes__ == ["Raised while per_worker 'conn' was set up in worker 12."]
