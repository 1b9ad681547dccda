"""The loop of a run ends: at the first failure, and when a signal comes in the waiting task."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.unit.helpers import LOCAL_BY_DAY, PROCESSES_BY_DAY, eventually, note, notes, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)


@local_by_day
def test_rest_is_not_run(backend: str, tmp_path: Path) -> None:
    """After a failure no further item is begun, but those in hand and before the workers."""
    ran = tmp_path / "ran"

    def fail_first(item: int) -> None:
        note(ran, item)
        if item == 0:
            raise LookupError("first")
        time.sleep(0.01)

    with pytest.raises(LookupError):
        task(fail_first, backend=backend, batch_size=1)(range(5000))
    assert len(notes(ran)) < 1000


class Ended(BaseException):
    """As Airflow's own timeout: no ``Exception``."""


class TestEndedFromOutside:
    """A signal in the waiting task: a timeout, Ctrl-C."""

    @pytest.mark.parametrize(
        ("backend", "kind"),
        [
            ("loky", KeyboardInterrupt),
            pytest.param("loky", Ended, marks=pytest.mark.nightly),
            ("multiprocessing", KeyboardInterrupt),
            ("multiprocessing", Ended),
        ],
    )
    def test_processes(self, backend: str, kind: type[BaseException], tmp_path: Path) -> None:
        """What a signal's handler raises ends the run, every worker, and what ``finally`` blocks do is done."""
        begun, left = tmp_path / "begun", tmp_path / "left"

        def sleep(item: int) -> None:
            note(begun)
            try:
                time.sleep(600)
            finally:
                note(left, item)

        with signalled(kind, lambda: len(notes(begun)) == 2) as sent, pytest.raises(kind) as caught:
            task(sleep, backend=backend, batch_size=1)(range(20))
        assert time.monotonic() - sent[0] < 5
        assert not hasattr(caught.value, "__notes__")
        assert worker_processes() == []
        assert len(notes(left)) == 2
        assert len(notes(begun)) == 2

    @processes_by_day
    def test_items_that_will_not_leave(self, backend: str, tmp_path: Path) -> None:
        """An item that swallows everything is killed with its worker."""
        begun = tmp_path / "begun"

        def stubborn(item: int) -> None:
            note(begun)
            while True:
                with suppress(BaseException):
                    time.sleep(600)

        with signalled(Ended, lambda: len(notes(begun)) == 2), pytest.raises(Ended):
            task(stubborn, backend=backend, batch_size=1)(range(20))
        assert eventually(lambda: not worker_processes())

    def test_threads(self) -> None:
        """Nothing waits for the items of threads, and none begins another one."""
        begun: list[int] = []
        free = threading.Event()

        def wait(item: int) -> None:
            begun.append(item)
            free.wait(60)

        with signalled(Ended, lambda: len(begun) == 2) as sent, pytest.raises(Ended):
            task(wait, backend="threading", batch_size=1)(range(20))
        assert time.monotonic() - sent[0] < 5
        free.set()
        time.sleep(0.1)
        assert len(begun) == 2

    def test_sequential(self) -> None:
        """In the task's own thread it is not taken for an item's failure."""
        begun: list[int] = []

        def sleep(item: int) -> None:
            begun.append(item)
            time.sleep(60)

        with signalled(Ended, lambda: len(begun) == 1), pytest.raises(Ended) as caught:
            task(sleep, backend="sequential")(range(20))
        assert begun == [0]
        assert not hasattr(caught.value, "__notes__")


@contextmanager
def signalled(kind: type[BaseException], due: Callable[[], bool]) -> Iterator[list[float]]:
    """Send this process a signal as soon as *due*, whose handler raises *kind*; gives the time that it was sent."""
    sent: list[float] = []

    def handle(*_: object) -> None:
        raise kind

    over = threading.Event()

    def watch() -> None:
        if eventually(lambda: over.is_set() or due(), 60) and not over.is_set():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        yield sent
    finally:
        over.set()
        watcher.join(60)
        signal.signal(signal.SIGUSR1, before)
