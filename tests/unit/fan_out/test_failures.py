"""Items that failed for good: how many are tolerated, the records of them, and the error that ends a run."""

from __future__ import annotations

import json
import logging
import traceback

import pytest

from airflow_joblib import ItemTimeoutError, TooManyFailuresError
from airflow_joblib.fan_out.failures import SHOWN, Failures
from airflow_joblib.fan_out.host import Host
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import ItemError
from airflow_joblib.wire.tracebacks import Place, Trace


def thumbnail(item: object) -> object:
    return item


def failures(number: int, most: float) -> Failures:
    """Make so many failures, of which *most* are tolerated."""
    found = Failures(Call(thumbnail), most, Host())
    for index in range(number):
        found.add(failure(index), f"item {index}", 3, 4711)
    return found


def failure(index: int) -> ItemError:
    place = Place("/worker/dag_file.py", 100 + index, "thumbnail", "dag_file")
    return ItemError(index, LookupError(f"no {index}"), Trace([place]))


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
    found = Failures(Call(thumbnail), 1, Host())
    found.add(ItemError(5, OwnError()), 5, 1, 1)
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
    assert 'File "/worker/dag_file.py", line 100, in thumbnail' in shown
    assert "LookupError: no 1" in shown
    assert shown.index("LookupError") < shown.index("20 of 100 items failed for good")


def test_first_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first failures are in the log, an error record each; then one line says where the rest is."""
    caplog.set_level(logging.WARNING, logger="airflow_joblib")
    failures(30, 100)
    *errors, more = caplog.records
    assert [(record.levelname, vars(record)["item"]) for record in errors] == [("ERROR", item) for item in range(SHOWN)]
    assert caplog.messages[1] == (
        "thumbnail: item 1 ('item 1') failed for good: LookupError: no 1\n"
        "Raised by item 1 ('item 1') on try 3 in worker 4711."
    )
    assert 'File "/worker/dag_file.py", line 101, in thumbnail' in caplog.text
    assert more.levelname == "WARNING"
    assert "the XCom 'failures' has a record of every one" in more.getMessage()


def test_note_of_a_resource() -> None:
    """The failure of a resource names the resource, and no item."""
    error = failures(0, 0).raised(ItemError(-1, ValueError("no"), resource="conn"), None, 1, 12)
    assert error.__notes__ == ["Raised while per_worker 'conn' was set up in worker 12."]


def test_resource_is_given_no_label() -> None:
    """Where a resource failed there is no item, and the label function is not called."""
    named: list[object] = []

    def label(item: object) -> str:
        named.append(item)
        return "named"

    found = Failures(Call(thumbnail), 0, Host(), label)
    found.raised(ItemError(-1, ValueError("no"), resource="conn"), None, 1, 12)
    assert named == []
    assert found.ended is not None
    assert found.ended["item"] == "conn"


def test_time_limit_names_its_item() -> None:
    """The message of an item that took too long has the item's label."""
    found = Failures(Call(thumbnail), 5, Host(), lambda item: f"L{item}")
    found.add(ItemError(3, ItemTimeoutError(0.5, 3)), 3, 1, 12)
    assert found.records[0]["message"] == "Item 3 (L3) took longer than its item_timeout of 0.5 s."
