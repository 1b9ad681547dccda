"""How worker processes leave, and what happens where they can't."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.unit.helpers import PROCESSES, eventually, note, notes, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("backend", PROCESSES)
def test_an_interruption_does_not_wait_for_resources(backend: str, tmp_path: Path) -> None:
    """What interrupts the task while resources are left ends the workers, and what they have started, at once."""
    leaving, started = tmp_path / "leaving", tmp_path / "started"

    @contextmanager
    def slow() -> Iterator[int]:
        process = subprocess.Popen(["sleep", "600"])
        note(started, process.pid)
        try:
            yield 1
        finally:
            note(leaving, os.getpid())
            time.sleep(600)

    def interrupt(*_: Any) -> None:
        if notes(leaving):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(TimeoutError):
            task(lambda item, resource: item + resource, backend=backend, per_worker={"resource": slow})(range(4))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not worker_processes()
    assert eventually(lambda: not any(_runs(int(pid)) for pid in notes(started)))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")  # in loky's thread, which an error would end
def test_a_worker_that_has_grown_is_replaced(tmp_path: Path) -> None:
    """Where loky has put another worker in the place of one that has grown, each leaves its resource in peace."""
    entered, left = tmp_path / "entered", tmp_path / "left"

    @contextmanager
    def resource() -> Iterator[list[bytes]]:
        note(entered, os.getpid())
        try:
            yield []
        finally:
            time.sleep(1)
            note(left, os.getpid())

    def grow(item: int, kept: list[bytes]) -> int:
        if len(kept) < 10:
            kept.append(b"x" * 50_000_000)
        time.sleep(0.3)
        return item

    results = task(grow, backend="loky", batch_size=1, per_worker={"kept": resource})(range(32))
    assert results == list(range(32))
    assert len(notes(entered)) > 2, "no worker was replaced"
    assert sorted(notes(left)) == sorted(notes(entered))
