"""What an item's exception means for its next try: ``item_retry_on``, ``FailItem`` and ``RetryItem``."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import FailItem, ItemTimeoutError, RetryItem, TooManyFailuresError
from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, PROCESSES_BY_DAY, note, notes, task

if TYPE_CHECKING:
    from pathlib import Path

local = pytest.mark.parametrize("backend", LOCAL)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)


class BusyError(ConnectionError):
    """A server is busy."""


class CannotTravel(BusyError):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class OwnRetry(RetryItem):
    """A kind of its own."""


def tries(path: Path, item: object) -> int:
    """Take note of a try, and return its number."""
    note(path, item)
    return notes(path).count(str(item))


@local_by_day
def test_item_retry_on(backend: str, tmp_path: Path, published: list[Any]) -> None:
    """What is of one of the types is tried again, one that can't be sent included; anything else has failed."""
    ran = tmp_path / "ran"
    raised: dict[str, Any] = {"busy": BusyError, "own": CannotTravel, "gone": LookupError, "fine": None}

    def work(item: str) -> str:
        if tries(ran, item) == 1 and raised[item]:
            raise raised[item](item)
        return item

    options: dict[str, Any] = {"item_retries": 2, "max_failures": 1, "backend": backend}
    assert task(work, item_retry_on=ConnectionError, **options)(list(raised)) == ["busy", "own", None, "fine"]
    assert sorted(notes(ran)) == ["busy", "busy", "fine", "gone", "own", "own"]
    assert [(record["item"], record["tries"]) for record in published[-1]] == [("'gone'", 1)]
    ran.unlink()
    assert task(work, item_retry_on=(LookupError, BusyError), **options)(list(raised)) == list(raised)


@local_by_day
def test_fail_item(backend: str, tmp_path: Path, published: list[Any]) -> None:
    """``FailItem`` is a failure that is not tried again, and counts for ``max_failures`` as others do."""
    ran = tmp_path / "ran"

    def work(item: int) -> int:
        tries(ran, item)
        if item:
            raise FailItem("404") from LookupError("gone")
        return item

    options: dict[str, Any] = {"item_retries": 3, "item_retry_on": (FailItem, Exception), "backend": backend}
    assert task(work, max_failures=1, **options)([0, 1]) == [0, None]
    assert sorted(notes(ran)) == ["0", "1"]
    record = published[-1][0]
    assert (record["error_type"], record["message"]) == ("airflow_joblib.exceptions.FailItem", "404")
    with pytest.raises(TooManyFailuresError):
        task(work, max_failures=1, **options)([1, 2, 3])
    with pytest.raises(FailItem, match="404") as caught:
        task(work, **options)([0, 1])
    assert isinstance(caught.value.__cause__, LookupError)


@local
def test_retry_item(backend: str, tmp_path: Path) -> None:
    """``RetryItem`` is tried again, whatever ``item_retry_on`` is, and no sooner than it asks for."""
    ran, began = tmp_path / "ran", tmp_path / "began"

    def work(item: int) -> int:
        note(began, f"{item} {time.monotonic()}")
        if tries(ran, item) == 1:
            raise OwnRetry("busy", after=timedelta(seconds=0.3)) from BusyError("429")
        return item

    assert task(work, item_retries=1, item_retry_on=(), item_retry_delay=60, backend=backend)([7, 8]) == [7, 8]
    assert len(notes(ran)) == 4
    for item in "78":
        first, second = (float(line.split()[1]) for line in notes(began) if line.startswith(item))
        assert second - first >= 0.3


@local_by_day
def test_retry_item_for_the_last_time(backend: str) -> None:
    """An item that asks for one try too many has failed as others do, with what has led to it; its own type is kept."""

    def work(item: int) -> int:
        raise RetryItem(after=0.01) from BusyError("429")

    with pytest.raises(RetryItem, match=r"^The item asks for another try after 0.01 s\.") as caught:
        task(work, item_retries=2, backend=backend)([7, 7])
    assert isinstance(caught.value.__cause__, BusyError)
    assert "on try 3" in caught.value.__notes__[0]
    assert "item_retries" not in caught.value.__notes__[0]


@pytest.mark.parametrize("options", [{}, {"max_failures": 1}])
def test_retry_item_without_retries(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Where there are no retries an item that asks for one has failed, and its note says that there are none."""

    def work(item: int) -> int:
        raise RetryItem("busy")

    if options:
        assert task(work, **options)([7]) == [None]
        assert "item_retries is 0" in caplog.text
    else:
        with pytest.raises(RetryItem, match="busy") as caught:
            task(work)([7])
        assert "It asks for another try, and item_retries is 0" in caught.value.__notes__[0]


@pytest.mark.parametrize("after", ["30", -1, float("inf"), float("nan"), True, [1]])
def test_no_time(after: Any) -> None:
    """What is no time from now on is an error that says so, where it is raised, and doesn't show it."""
    with pytest.raises(ValueError, match=r"RetryItem\(after=...\) takes a number of seconds") as caught:
        RetryItem(after=after)
    assert "30" not in str(caught.value)


@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
@pytest.mark.slow
def test_timeouts(backend: str, tmp_path: Path) -> None:
    """A try beyond its limit is tried again if ``item_retry_on`` has timeouts, also where its worker had to end."""
    ran = tmp_path / "ran"

    def work(item: int) -> int:
        if tries(ran, item) == 1:
            while True:
                try:
                    time.sleep(60)
                except BaseException:  # what never returns ends with its worker
                    continue
        return item

    options: dict[str, Any] = {"item_timeout": 0.2, "item_retries": 1, "backend": backend}
    assert task(work, item_retry_on=TimeoutError, **options)([1, 2]) == [1, 2]
    with pytest.raises(ItemTimeoutError):
        task(work, item_retry_on=LookupError, **options)([3, 4])


@pytest.mark.parametrize("backend", ["multiprocessing", "threading", "sequential"])
def test_async(backend: str, tmp_path: Path) -> None:
    """The same holds for items of ``async`` functions, whose items may be of several parameters."""
    ran = tmp_path / "ran"

    async def work(name: str, error: str | None) -> str:
        if tries(ran, name) == 1 and error:
            raise {"again": RetryItem(after=0.01), "fail": FailItem(), "busy": BusyError(), "gone": LookupError()}[
                error
            ]
        return name

    made = task(work, over=("name", "error"), item_retries=1, item_retry_on=OSError, max_failures=2, backend=backend)
    items = [("a", "again"), ("b", "fail"), ("c", "busy"), ("d", "gone"), ("e", None)]
    assert made(items) == ["a", None, "c", None, "e"]
    assert sorted(notes(ran)) == ["a", "a", "b", "c", "c", "d", "e"]
