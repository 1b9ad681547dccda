"""Failures that are tolerated, or end the run at once; what is skipped, and what is refused early."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError, ParallelTaskError, TooManyFailuresError
from airflow_joblib.fan_out.host import Host
from airflow_joblib.taskflow import surroundings
from tests.unit.helpers import (
    LOCAL,
    LOCAL_BY_DAY,
    PROCESSES,
    PROCESSES_BY_DAY,
    eventually,
    note,
    notes,
    task,
    worker_processes,
)

if TYPE_CHECKING:
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
local = pytest.mark.parametrize("backend", LOCAL)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
#: What pytest-timeout does by default takes the timer that a limit in the main thread takes, too.
pytestmark = pytest.mark.timeout(400, method="thread")
#: Seconds that no item takes, unless it is ended.
LONG = 100.0


class AirflowSkipException(Exception):
    """Stands for Airflow's, which unit tests don't import."""

    __module__ = "airflow.exceptions"


class AirflowFailException(Exception):
    """Stands for Airflow's."""

    __module__ = "airflow.exceptions"


class CannotTravel(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TestTolerance:
    """``max_failures``."""

    @local_by_day
    def test_labels(self, backend: str, published: list[Any], caplog: pytest.LogCaptureFixture) -> None:
        """A label names a failed item in its record, its log line, its note and the line of its retry."""
        secret = "the item's own text"

        def fail_one(item: tuple[str, str]) -> str:
            if item[0] == "b.png":
                raise LookupError("gone")
            return item[0]

        caplog.set_level("INFO", logger="airflow_joblib")
        items = [(name, secret) for name in ("a.png", "b.png")]
        options: dict[str, Any] = {"backend": backend, "item_retries": 1, "label": lambda item: item[0]}
        assert task(fail_one, max_failures=1, **options)(items) == ["a.png", None]
        assert [record["item"] for record in published[-1]] == ["b.png"]
        assert any("item 1 (b.png) failed on try 1 of 2" in message for message in caplog.messages)
        assert any("item 1 (b.png) failed for good" in message for message in caplog.messages)
        with pytest.raises(LookupError) as caught:
            task(fail_one, **options)(items)
        assert "item 1 (b.png) on try 2" in caught.value.__notes__[0]
        assert secret not in caplog.text + caught.value.__notes__[0]

    @local
    def test_tolerated(self, backend: str, published: list[Any]) -> None:
        """Failed positions are None, order is kept, and every failure has its record."""

        def fail_tens(item: int) -> int:
            if item % 10 == 0:
                raise LookupError(f"no {item}")
            return item

        assert task(fail_tens, backend=backend, max_failures=3, item_retries=1)(range(30)) == [
            item if item % 10 else None for item in range(30)
        ]
        (records,) = published
        assert records == [
            {"index": item, "item": str(item), "error_type": "LookupError", "message": f"no {item}", "tries": 2}
            for item in (0, 10, 20)
        ]

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("backend", ["multiprocessing", "threading", "sequential"])
    def test_fraction(self, backend: str, lazy: bool, published: list[Any]) -> None:
        """A fraction is one of all items; of a generator, of all that it gave in the end."""

        def fail_some(item: int) -> int:
            if item < 10:
                raise LookupError(item)
            return item

        items = range(100)
        fanned = task(fail_some, backend=backend, max_failures=0.1)
        assert fanned(iter(items) if lazy else items) == [*[None] * 10, *range(10, 100)]
        with pytest.raises(TooManyFailuresError) as caught:
            task(fail_some, backend=backend, max_failures=0.09)(iter(items) if lazy else items)
        assert caught.value.tolerated == 9
        assert len(published[-1]) == caught.value.failed

    @local_by_day
    def test_beyond(self, backend: str, tmp_path: Path, published: list[Any]) -> None:
        """Beyond the limit the run ends early; what it raises has the first failures with their tracebacks."""
        ran = tmp_path / "ran"

        def fail(item: int) -> None:
            note(ran, item)
            time.sleep(0.02)
            raise LookupError(f"no {item}")

        with pytest.raises(TooManyFailuresError) as caught:
            task(fail, backend=backend, max_failures=2, batch_size=1)(range(1000))
        assert 3 <= caught.value.failed < 20
        assert len(notes(ran)) < 500
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert all(isinstance(error, LookupError) for error in group.exceptions)
        assert len(published[-1]) == caught.value.failed
        if backend in PROCESSES:
            assert "in fail" in "".join(traceback.format_exception(group.exceptions[0]))

    @local_by_day
    @pytest.mark.parametrize("most", [0, 3, 0.04])
    def test_fail_fast(self, backend: str, most: float, tmp_path: Path, published: list[Any]) -> None:
        """With ``fail_fast=False`` every item runs, retries too; then the task fails with a summary of all failures."""
        ran = tmp_path / "ran"

        def fail_tens(item: int) -> int:
            note(ran, item)
            if item % 10 == 0:
                raise (LookupError if item else CannotTravel)(f"no {item}")
            return item

        work = task(fail_tens, backend=backend, max_failures=most, fail_fast=False, item_retries=1)
        with pytest.raises(TooManyFailuresError) as caught:
            work(iter(range(100)) if most == 3 else range(100))
        assert len(notes(ran)) == 110
        assert (caught.value.failed, caught.value.total) == (10, 100)
        assert list(caught.value.kinds.values()) == [9, 1]
        assert str(caught.value).startswith("10 of 100 items failed for good (9 by LookupError, 1 by ")
        assert "all items have run" in str(caught.value)
        assert [record["index"] for record in published[-1]] == list(range(0, 100, 10))
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert work.override(max_failures=10)(range(100))[9:12] == [9, None, 11]

    @processes_by_day
    def test_fail_fast_and_dead_workers(self, backend: str, tmp_path: Path) -> None:
        """An item that ends its workers is one of the failures; the others run."""

        def die(item: int) -> None:
            if item == 3:
                os._exit(1)
            note(tmp_path / "ran", item)

        with pytest.raises(TooManyFailuresError, match=r"1 of 10 items failed .*WorkerLostError"):
            task(die, backend=backend, fail_fast=False)(range(10))
        assert {*notes(tmp_path / "ran")} == {str(item) for item in range(10) if item != 3}

    @processes_by_day
    def test_running_items_are_stopped(self, backend: str, tmp_path: Path) -> None:
        """Beyond the limit nothing waits for items that run: they are ended."""
        begun = tmp_path / "begun"

        def fail_or_sleep(item: int) -> None:
            if item:
                note(begun)
                time.sleep(LONG)
            eventually(lambda: notes(begun), 60)
            raise LookupError

        began = time.monotonic()
        with pytest.raises(LookupError):
            task(fail_or_sleep, backend=backend, batch_size=1, item_retries=1)(range(2))
        with pytest.raises(TooManyFailuresError):
            task(lambda item: fail_or_sleep(item // 2), backend=backend, batch_size=1, max_failures=1, n_jobs=3)(
                range(4)
            )
        assert time.monotonic() - began < LONG
        assert not worker_processes()

    @processes
    def test_what_cannot_travel(self, backend: str, published: list[Any]) -> None:
        """An exception, or a result, that can't be pickled is that item's failure, and tolerated as any other."""

        def work(item: str) -> Any:
            if item == "exception":
                raise CannotTravel("locked")
            return {"a": [threading.Lock()]} if item == "result" else item

        assert task(work, backend=backend, max_failures=2)(["a", "exception", "b", "result", "c"]) == [
            "a",
            None,
            "b",
            None,
            "c",
        ]
        ((first, second),) = published
        assert "CannotTravel: locked" in first["message"]
        assert second["error_type"] == f"airflow_joblib.exceptions.{NotPicklableError.__name__}"
        assert "result of item 3" in second["message"]
        assert "_thread.lock" in second["message"]

    @processes
    def test_exception_that_cannot_travel(self, backend: str) -> None:
        """Where none is tolerated it arrives with its type's name, its message and its traceback."""

        def work(item: int) -> int:
            if item == 1:
                raise CannotTravel("locked")
            return item

        with pytest.raises(ParallelTaskError, match="CannotTravel: locked") as caught:
            task(work, backend=backend)(range(4))
        assert "in work" in "".join(traceback.format_exception(caught.value))


class TestAirflowExceptions:
    """What Airflow's own exceptions mean for an item."""

    @local_by_day
    def test_some_skipped(self, backend: str, published: list[Any]) -> None:
        """A skipped item has None for a result, is no failure and is not tried again."""

        def skip_odd(item: int) -> int:
            if item % 2:
                raise AirflowSkipException("odd")
            return item

        assert task(skip_odd, backend=backend, item_retries=3)(range(6)) == [0, None, 2, None, 4, None]
        assert task(skip_odd, backend=backend, max_failures=1)(range(4)) == [0, None, 2, None]
        assert published == [[]]

    @local
    def test_all_skipped(self, backend: str) -> None:
        """Where all are skipped the run raises the first one's exception, which skips the task."""

        def skip(item: int) -> None:
            raise AirflowSkipException(f"not {item}")

        with pytest.raises(AirflowSkipException, match="not "):
            task(skip, backend=backend)(range(6))

    @pytest.mark.parametrize("options", [{"item_retries": 5, "item_retry_delay": LONG}, {"max_failures": 5}])
    @local_by_day
    def test_fail(self, backend: str, options: dict[str, Any], tmp_path: Path) -> None:
        """AirflowFailException ends the run at once, whatever may be tried again or tolerated."""
        ran = tmp_path / "ran"

        def fail(item: int) -> int:
            if item == 2:
                note(ran)
                raise AirflowFailException("for good")
            return item

        with pytest.raises(AirflowFailException, match="for good") as caught:
            task(fail, backend=backend, **options)(range(20))
        assert "Raised by item 2 (2) on try 1" in caught.value.__notes__[0]
        assert len(notes(ran)) == 1


class TestFirstFailure:
    """With no tolerance the first failure ends the run."""

    @local_by_day
    def test_no_further_item_starts(self, backend: str, tmp_path: Path) -> None:
        """After a failure in the third of many items, no further one starts, and those that run are not waited for."""
        begun, failed = tmp_path / "begun", tmp_path / "failed"

        def fail_third(item: int) -> int:
            note(begun, f"{item} {time.monotonic_ns()}")
            if item == 2:
                note(failed, time.monotonic_ns())
                raise LookupError(item)
            if item > 2:  # and so ends well after the failure
                eventually(lambda: notes(failed), 60)
                time.sleep(2)
            return item

        with pytest.raises(LookupError):
            task(fail_third, backend=backend)(range(500))
        (moment,) = map(int, notes(failed))
        late = [line for line in notes(begun) if int(line.split()[1]) > moment + 1_500_000_000]
        assert late == []
        assert len(notes(begun)) < 20, "items run in about the order of the input"

    @processes_by_day
    def test_running_items_are_ended(self, backend: str, tmp_path: Path) -> None:
        """A worker in mid-item is ended, and its ``finally`` blocks run."""
        begun, left = tmp_path / "begun", tmp_path / "left"

        def fail_or_sleep(item: int) -> None:
            if item == 0:
                assert eventually(lambda: notes(begun), 60)
                raise LookupError
            note(begun)
            try:
                time.sleep(LONG)
            finally:
                note(left)

        began = time.monotonic()
        with pytest.raises(LookupError):
            task(fail_or_sleep, backend=backend, batch_size=1)(range(50))
        assert time.monotonic() - began < LONG
        assert len(notes(begun)) == len(notes(left)) == 1


class Checking(Host):
    """Checks every result, as an Airflow task does."""

    def __init__(self) -> None:
        self.checked: list[tuple[int, object]] = []

    def result_check(self, call: object) -> Any:
        del call
        return self.check

    def check(self, index: int, value: object) -> str | None:
        self.checked.append((index, value))
        return f"The result of item {index} can't be in an XCom" if value == "bad" else None


class TestResultsAreChecked:
    """The host looks at every result as it arrives."""

    @pytest.fixture
    def host(self, monkeypatch: pytest.MonkeyPatch) -> Checking:
        host = Checking()
        set_host(monkeypatch, host)
        return host

    @local_by_day
    def test_each_is_checked_once(self, backend: str, host: Checking) -> None:
        """Every result is checked; none of an item that failed or was skipped."""

        def work(item: int) -> int | None:
            if item == 0:
                raise LookupError
            if item == 1:
                raise AirflowSkipException
            return item

        task(work, backend=backend, max_failures=1)(range(10))
        assert sorted(host.checked) == [(item, item) for item in range(2, 10)]

    @local_by_day
    def test_refused_early(self, backend: str, host: Checking, tmp_path: Path) -> None:
        """A result that is refused ends the run before the later items have run, and the error says whose it is."""
        ran = tmp_path / "ran"

        def work(item: int) -> str:
            note(ran)
            time.sleep(0.02)
            return "bad" if item == 3 else "good"

        with pytest.raises(TypeError, match="The result of item 3 can't be in an XCom") as caught:
            task(work, backend=backend)(range(1000))
        assert caught.value.__notes__[0].startswith("Returned by item 3 (3) on try 1 in worker ")
        assert len(notes(ran)) < 900
        assert (3, "bad") in host.checked

    @local_by_day
    def test_tolerated(self, backend: str, host: Checking, published: list[Any]) -> None:
        """A result that is refused is its item's failure, which another try would not mend."""
        work = task(lambda item: "bad" if item == 3 else item, backend=backend, max_failures=1, item_retries=2)
        assert work(range(6)) == [0, 1, 2, None, 4, 5]
        (record,) = published[-1]
        assert (record["index"], record["tries"], record["error_type"]) == (3, 1, "TypeError")

    def test_not_kept(self, host: Checking, tmp_path: Path) -> None:
        """A result that is refused is not in the checkpoint: its item runs again, and the others don't."""
        ran = tmp_path / "ran"

        def work(item: int) -> str:
            note(ran, item)
            return "bad" if item == 3 and not (tmp_path / "mended").exists() else "good"

        run = task(work, backend="sequential", checkpoint=str(tmp_path / "kept"))
        with pytest.raises(TypeError):
            run(range(6))
        (tmp_path / "mended").touch()
        assert run(range(6)) == ["good"] * 6
        assert notes(ran).count("3") == 2
        assert notes(ran).count("0") == 1

    def test_kept_by_a_run_that_took_anything(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What a checkpoint has that can't be in the XCom is not taken from it: its item runs again."""
        ran = tmp_path / "ran"

        def work(item: int) -> str:
            note(ran, item)
            if item == 5 and not (tmp_path / "mended").exists():
                raise LookupError("the last one")
            return "bad" if item == 3 and not (tmp_path / "mended").exists() else "good"

        run = task(work, backend="sequential", checkpoint=str(tmp_path / "kept"))
        with pytest.raises(LookupError):
            run(range(6))
        (tmp_path / "mended").touch()
        set_host(monkeypatch, Checking())
        assert run(range(6)) == ["good"] * 6
        assert notes(ran).count("3") == 2

    def test_checkpoint_is_named_in_a_failure(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A run that fails logs where finished items are kept, and one that took some from there what removes them."""
        caplog.set_level(logging.INFO, "airflow_joblib")
        run = task(fails_on_two, backend="sequential", checkpoint=str(tmp_path / "kept"))
        with pytest.raises(LookupError):
            run([2])
        assert "checkpoint" not in caplog.text  # nothing is kept yet
        with pytest.raises(LookupError):
            run(range(3))
        assert f"finished items are kept in the checkpoint in {tmp_path}/kept/" in caplog.text
        caplog.clear()
        with pytest.raises(LookupError):
            run(range(3))
        assert f"from the checkpoint in {tmp_path}/kept/" in caplog.text
        assert "remove that folder" in caplog.text


def fails_on_two(item: int) -> int:
    if item == 2:
        raise LookupError("two")
    return item


def set_host(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Let runs have this host."""
    monkeypatch.setattr(surroundings, "host", lambda: host)
