"""Each item has tries of its own and a time limit for each of them, on every local backend."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import ItemTimeoutError
from tests.unit.helpers import LOCAL_BY_DAY, PROCESSES, PROCESSES_BY_DAY, eventually, note, notes, task

if TYPE_CHECKING:
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
#: What pytest-timeout does by default takes the timer that a limit in the main thread takes, too.
pytestmark = pytest.mark.timeout(400, method="thread")
#: Seconds that no item takes, unless it is ended.
LONG = 100.0


class TestRetries:
    """``item_retries``."""

    @local_by_day
    def test_succeeds_in_the_end(self, backend: str, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
        """An item that fails at first is tried again until it succeeds, and no other item runs twice."""
        ran = tmp_path / "ran"

        def third_time(item: int) -> int:
            note(ran, item)
            if item % 20 == 13 and notes(ran).count(str(item)) < 3:  # few enough to have a line each in the log
                raise LookupError(item)
            return -item

        assert task(third_time, backend=backend, item_retries=2)(range(40)) == [-item for item in range(40)]
        assert Counter(notes(ran)) == {str(item): 3 if item % 20 == 13 else 1 for item in range(40)}
        told = [message for message in log.messages if message.startswith("third_time: item 13 failed on try")]
        assert [message.partition(" and is")[0] for message in told] == [
            "third_time: item 13 failed on try 1 of 3",
            "third_time: item 13 failed on try 2 of 3",
        ]

    @local_by_day
    def test_exhausted(self, backend: str, tmp_path: Path) -> None:
        """After its last try the item's own exception ends the run, and its note has the number of tries."""
        ran = tmp_path / "ran"

        def fail(item: int) -> int:
            if item == 2:
                note(ran)
                raise LookupError("never")
            return item

        with pytest.raises(LookupError, match="never") as caught:
            task(fail, backend=backend, item_retries=3)(range(6))
        assert caught.value.__notes__[0].startswith("Raised by item 2 (2) on try 4 in worker ")
        assert len(notes(ran)) == 4

    @pytest.mark.parametrize("n_jobs", [1, 2])
    @local_by_day
    def test_others_run_meanwhile(self, backend: str, n_jobs: int, tmp_path: Path) -> None:
        """While an item waits for its next try, the workers run all the others."""
        ran = tmp_path / "ran"

        def fail_first(item: int) -> int:
            note(ran, item)
            if item == 0 and notes(ran).count("0") == 1:
                raise LookupError
            return item

        fanned = task(fail_first, backend=backend, n_jobs=n_jobs, item_retries=1, item_retry_delay=0.8)
        assert fanned(range(30)) == list(range(30))
        assert notes(ran)[-1] == "0"
        assert len(notes(ran)) == 31

    @local_by_day
    def test_lazy_items(self, backend: str, tmp_path: Path) -> None:
        """Items of a generator are tried again as well, those beyond its end too."""
        ran = tmp_path / "ran"

        def fail_once(item: int) -> int:
            note(ran, item)
            if notes(ran).count(str(item)) == 1 and item > 40:
                raise LookupError
            return item

        fanned = task(fail_once, backend=backend, item_retries=1, batch_size=5)
        assert fanned(iter(range(50))) == list(range(50))

    @local_by_day
    def test_interrupted_wait(self, backend: str, tmp_path: Path) -> None:
        """What ends the task while nothing but waits is left ends it at once."""
        failed = tmp_path / "failed"

        def fail(item: int) -> int:
            note(failed)
            raise LookupError(item)

        def interrupt() -> None:
            if eventually(lambda: len(notes(failed)) == 2, 60):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            task(fail, backend=backend, item_retries=5, item_retry_delay=LONG)(range(2))


class TestTimeLimit:
    """``item_timeout``."""

    @local_by_day
    def test_raised_by_the_item_itself(self, backend: str) -> None:
        """Where no option has set a limit, its error is the item's failure as any other exception is."""

        def raises(item: int) -> int:
            if item == 3:
                raise ItemTimeoutError(1.0)
            return item

        assert task(raises, backend=backend, max_failures=1)(range(6)) == [0, 1, 2, None, 4, 5]

    @local_by_day
    def test_python_code(self, backend: str, tmp_path: Path) -> None:
        """A try in Python code ends with an error that says the item and the limit; the others stand."""
        left = tmp_path / "left"

        def turn(item: str) -> None:  # apart: Python 3.13.0 leaves a block at a loop's turn without its ``finally``
            while item == "slow":
                sum(range(1000))

        def loop(item: str) -> str:
            try:
                turn(item)
            finally:
                if item == "slow":
                    note(left)
            return item

        with pytest.raises(ItemTimeoutError) as caught:
            task(loop, backend=backend, item_timeout=0.8)(["a", "b", "slow", "c"])
        error = caught.value
        assert (error.index, error.item, error.seconds) == (2, "'slow'", 0.8)
        assert str(error) == "Item 2 ('slow') took longer than its item_timeout of 0.8 s."
        assert "Raised by item 2 " in error.__notes__[0]
        assert len(notes(left)) == 1, "a finally block has run"

    @pytest.mark.parametrize("backend", [*PROCESSES, "sequential"])
    def test_system_call(self, backend: str) -> None:
        """A sleep ends at once."""

        def sleep(item: int) -> int:
            time.sleep(LONG if item == 2 else 0)
            return item

        results = task(sleep, backend=backend, item_timeout=1, max_failures=1)(range(5))
        assert results == [0, 1, None, 3, 4]

    @processes_by_day
    def test_code_that_never_looks(self, backend: str, tmp_path: Path, published: list[Any]) -> None:
        """C code that lets no signal through ends with its worker process; no finished item runs again."""
        ran = tmp_path / "ran"

        def block(item: int) -> int:
            note(ran, item)
            if item == 7:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(LONG)
            return item

        results = task(block, backend=backend, item_timeout=1.5, max_failures=1, batch_size=1)(range(20))
        assert results == [None if item == 7 else item for item in range(20)]
        assert notes(ran).count("7") == 1
        assert sum(Counter(notes(ran)).values()) <= 22, "no more than what was in hand may run again"
        ((record,),) = published
        assert record["error_type"] == "airflow_joblib.exceptions.ItemTimeoutError"
        assert record["message"] == "Item 7 (7) took longer than its item_timeout of 1.5 s."

    @processes_by_day
    def test_one_item_that_never_looks(self, backend: str) -> None:
        """A single item with a limit runs in a worker process, which can be ended."""

        def block(item: int) -> int:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(LONG)
            return item

        with pytest.raises(ItemTimeoutError) as caught:
            task(block, backend=backend, item_timeout=1)([5])
        assert caught.value.index == 0

    @pytest.mark.nightly
    @processes
    def test_all_block(self, backend: str, tmp_path: Path) -> None:
        """Every worker at once in such code, and again at the retry: each try is counted, the others still run."""
        ran = tmp_path / "ran"

        def block(item: int) -> int:
            if item < 2:
                note(ran, item)
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(LONG)
            return item

        fanned = task(block, backend=backend, item_timeout=1, max_failures=2, item_retries=1, batch_size=1)
        assert fanned(range(8)) == [None, None, *range(2, 8)]
        assert 4 <= len(notes(ran)) <= 7, "the end of one try may cut the other item's short"

    @local_by_day
    def test_with_retries(self, backend: str, tmp_path: Path) -> None:
        """The limit is that of one try: the next one has it anew."""
        ran = tmp_path / "ran"

        def slow_at_first(item: int) -> int:
            note(ran, item)
            until = time.monotonic() + (LONG if notes(ran).count("1") == 1 and item == 1 else 0)
            while time.monotonic() < until:
                time.sleep(0.01)
            return item

        assert task(slow_at_first, backend=backend, item_timeout=1, item_retries=1)(range(4)) == [0, 1, 2, 3]
        assert notes(ran).count("1") == 2

    def test_threads_are_warned_of(self, log: pytest.LogCaptureFixture) -> None:
        """With threads a warning says what a limit can't end; an item in such a call fails when it returns."""

        def sleep(item: float) -> None:
            time.sleep(item)

        results = task(sleep, backend="threading", item_timeout=1, max_failures=1)([2.5, 0])
        assert results == [None, None]
        assert "not a call into C or the operating system" in log.messages[0]
        assert any("ItemTimeoutError" in message for message in log.messages)
