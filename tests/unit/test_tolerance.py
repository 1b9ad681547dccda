"""Failures that are tolerated, or end the run at once; what is skipped, and what is refused early."""

from __future__ import annotations

import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import (
    NotPicklableError,
    ParallelTaskError,
    TooManyFailuresError,
)
from airflow_joblib.host import Host
from airflow_joblib.options import Defaults
from tests.unit.helpers import LOCAL, PROCESSES, eventually, note, notes, task, worker_processes

if TYPE_CHECKING:
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
local = pytest.mark.parametrize("backend", LOCAL)
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

    @local
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

    @processes
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

    @local
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
    @local
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

    @local
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

    @processes
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
    """Checks the first result, as an Airflow task does."""

    def __init__(self) -> None:
        self.checked: list[tuple[int, object]] = []

    def check_result(self, call: object, index: int, value: object) -> None:
        self.checked.append((index, value))
        if value == "bad":
            raise TypeError("can't be an XCom")


class TestFirstResult:
    """The host looks at the first result as soon as it is there."""

    @pytest.fixture
    def host(self, monkeypatch: pytest.MonkeyPatch) -> Checking:
        host = Checking()
        read = Defaults.read.__func__  # type: ignore[attr-defined]
        monkeypatch.setattr(
            Defaults, "read", classmethod(lambda cls, get: Defaults(**{**_fields(read(cls, get)), "host": host}))
        )
        return host

    @local
    def test_checked_once(self, backend: str, host: Checking) -> None:
        """One real result is checked: none of an item that failed or was skipped."""

        def work(item: int) -> int | None:
            if item == 0:
                raise LookupError
            if item == 1:
                raise AirflowSkipException
            return item

        task(work, backend=backend, max_failures=1)(range(10))
        assert len(host.checked) == 1
        assert host.checked[0][0] == host.checked[0][1]
        assert host.checked[0][0] >= 2

    @local
    def test_refused_early(self, backend: str, host: Checking, tmp_path: Path) -> None:
        """A result that is refused ends the run before the later items have run."""
        ran = tmp_path / "ran"

        def work(item: int) -> str:
            note(ran)
            time.sleep(0.02)
            return "bad"

        with pytest.raises(TypeError, match="can't be an XCom"):
            task(work, backend=backend)(range(1000))
        assert len(notes(ran)) < 900


def _fields(defaults: Defaults) -> dict[str, Any]:
    return {name: getattr(defaults, name) for name in defaults.__dataclass_fields__}
