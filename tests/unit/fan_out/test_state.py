"""An item's failure: it names the item, has its own exception and traceback, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError, ParallelTaskError, WorkerLostError
from tests.unit.helpers import LOCAL, PROCESSES, PROCESSES_BY_DAY, eventually, note, notes, task, worker_processes

if TYPE_CHECKING:
    from pathlib import Path

processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
local = pytest.mark.parametrize("backend", LOCAL)


class CannotTravel(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def refuse() -> None:
    raise RuntimeError("not here")


class CannotLoad(Exception):
    def __reduce__(self) -> Any:
        return refuse, ()


def die(how: str) -> Any:
    if how == "exception that can't travel":
        raise CannotTravel("locked")
    if how == "exception that can't load":
        raise CannotLoad("twice")
    if how == "exception of two arguments":
        raise TwoArguments(404, "not found")
    if how == "result that can't travel":
        return {"a": [threading.Lock()]}
    if how == "exit":
        raise SystemExit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leave":
        os._exit(0)
    return how


FATAL = {"kill": "was ended by SIGKILL", "leave": "left with exit code 0"}
FAILURES: dict[str, tuple[type[BaseException], str]] = {
    "exception that can't travel": (ParallelTaskError, "CannotTravel: locked"),
    "exception that can't load": (ParallelTaskError, "CannotLoad: twice"),
    "exception of two arguments": (TwoArguments, "404: not found"),
    "result that can't travel": (NotPicklableError, "result of item 3"),
    "exit": (SystemExit, "3"),
    "interrupt": (KeyboardInterrupt, ""),
}


class TestFailures:
    """A failure says which item, where and why, and leaves nothing behind."""

    @local
    def test_own_exception(self, backend: str) -> None:
        """The exception is the item's own, with a note that names it and the traceback of where it was raised."""

        def fail(item: int) -> int:
            if item == 7:
                raise LookupError(f"no {item}")
            return item

        with pytest.raises(LookupError, match="no 7") as caught:
            task(fail, backend=backend)(range(10))
        (line,) = caught.value.__notes__
        assert line.startswith("Raised by item 7 (7) on try 1 in worker ")
        if backend in PROCESSES:
            assert f"worker {os.getpid()}" not in line
        else:
            assert line.endswith(f"worker {os.getpid()}.")
        innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (innermost.filename, innermost.name) == (__file__, "fail")
        assert innermost.line == 'raise LookupError(f"no {item}")'

    @pytest.mark.slow
    @pytest.mark.parametrize("how", FAILURES)
    @processes_by_day
    def test_hard_failures(self, how: str, backend: str) -> None:
        """Whatever an item does short of ending its process is that item's failure, named, and the run ends."""
        kind, text = FAILURES[how]
        with pytest.raises(kind) as caught:
            task(die, backend=backend)(["a", "b", "c", how, "d", "e"])
        assert type(caught.value) is kind
        assert text in str(caught.value)
        assert "Raised by item 3 " in caught.value.__notes__[0]
        assert eventually(lambda: not worker_processes())

    @pytest.mark.slow
    @pytest.mark.parametrize("how", FATAL)
    @processes_by_day
    def test_lost_worker(self, how: str, backend: str) -> None:
        """An item that ends two workers in mid-item has failed, the run doesn't hang, and the next run works."""
        began = time.monotonic()
        end = {"kill": "was ended by SIGKILL", "leave": "left with exit code 0"}[how]
        with pytest.raises(WorkerLostError, match=f"Item 2 .* for the second time: the process {end}") as caught:
            task(die, backend=backend)(["a", "b", how, *"defgh"])
        assert (caught.value.index, caught.value.exit_code) == (2, {"kill": -9, "leave": 0}[how])
        assert time.monotonic() - began < 60
        assert eventually(lambda: not worker_processes())
        if how == "kill":
            assert task(die, backend=backend)(["a", "b", "c"]) == ["a", "b", "c"]

    @pytest.mark.parametrize("how", ["exit", "interrupt"])
    def test_exit_in_a_thread(self, how: str) -> None:
        """An exit in a worker thread is that item's failure too."""
        with pytest.raises(FAILURES[how][0]) as caught:
            task(die, backend="threading")(["a", how, "b"])
        assert "item 1" in caught.value.__notes__[0]

    def test_exit_in_sequence(self) -> None:
        """An exit in the task's own thread is the task's: it leaves as it came."""
        with pytest.raises(SystemExit) as caught:
            task(die, backend="sequential")(["a", "exit", "b"])
        assert not hasattr(caught.value, "__notes__")

    def test_processes_that_an_item_started(self, tmp_path: Path) -> None:
        """What an item has started ends with its worker."""
        pids = tmp_path / "pids"

        def start_and_fail(item: int) -> None:
            import subprocess

            note(pids, subprocess.Popen(["sleep", "600"]).pid)
            raise LookupError(item)

        with pytest.raises(LookupError):
            task(start_and_fail, backend="multiprocessing")(range(2))
        assert notes(pids)
        assert eventually(lambda: not worker_processes())

    @pytest.mark.parametrize("backend", ["multiprocessing", "threading"])
    def test_original_cause_is_shown(self, backend: str) -> None:
        """What the item's exception was raised from is not lost."""

        def chained(item: int) -> None:
            try:
                {"a": 1}["key"]
            except KeyError as error:
                raise LookupError("outer") from error

        with pytest.raises(LookupError, match="outer") as caught:
            task(chained, backend=backend)([1, 2])
        cause = caught.value.__cause__
        assert isinstance(cause, KeyError)
        assert traceback.extract_tb(cause.__traceback__)[-1].name == "chained"
