"""How a run ends when its task is ended from outside."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.fan_out.host import Host
from airflow_joblib.fan_out.run import fan_out
from airflow_joblib.options.options import Defaults, Options
from airflow_joblib.taskflow.task.termination import TaskKilledError, watched
from airflow_joblib.wire.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watched(Host):
    """A host that ends a run as a task's does."""

    watched = staticmethod(watched)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_the_block() -> None:
    """SIGTERM raises in the block, and afterwards the signal does what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TaskKilledError, match="SIGTERM"), watched():
        terminate()
    assert signal.getsignal(signal.SIGTERM) == before


def test_airflow_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler that was there before, which is Airflow's, runs at each signal."""
    del monkeypatch
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with pytest.raises(TaskKilledError), watched():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


def test_a_second_signal_does_not_interrupt_the_clean_up() -> None:
    """Only the first SIGTERM raises."""
    steps: list[str] = []
    with pytest.raises(TaskKilledError), watched():
        try:
            terminate()
        finally:
            terminate()
            steps.append("cleaned up")
    assert steps == ["cleaned up"]


def test_a_signal_that_gets_lost_is_remembered() -> None:
    """Where code of the user swallows what the signal raises, the next look raises it again, and so does the end."""
    with pytest.raises(TaskKilledError), watched() as check:
        with suppress(BaseException):
            terminate()
        with pytest.raises(TaskKilledError):
            check()


def test_end_of_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look after the supervisor has gone raises."""
    with watched() as check:
        check()
        monkeypatch.setattr(os, "getppid", lambda: 1)
        with pytest.raises(TaskKilledError, match="supervisor"):
            check()


@pytest.mark.parametrize("backend", ["loky", "threading", "sequential"])
def test_sigterm_before_the_first_worker(backend: str) -> None:
    """While items are drawn and checked the signal ends the run as well."""

    def items() -> Iterator[int]:
        yield 1
        terminate()
        yield 2

    ran: list[int] = []
    with pytest.raises(TaskKilledError):
        fan_out(Call(ran.append), items(), Options(n_jobs=2, backend=backend), Defaults(), Watched())
    assert not ran


def test_items_in_this_process_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two items that run in the task's own process it looks for its supervisor too."""
    ran: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.002)
        ran.append(item)
        if item == 3:
            monkeypatch.setattr(os, "getppid", lambda: 1)

    with pytest.raises(TaskKilledError):
        fan_out(Call(work), range(100), Options(backend="sequential"), Defaults(), Watched())
    assert ran == [0, 1, 2, 3]
