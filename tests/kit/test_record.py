"""The record of a task's runs, as the task writes it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.fan_out.record import live
from airflow_joblib.taskflow.relay.worker_context import task_context
from airflow_joblib.taskflow.task import run_display
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kit.test_task import AirflowTask


@parallel_task(n_jobs=2, backend="threading", batch_size=1)
def pause(item: float) -> float:
    """Take as many seconds."""
    time.sleep(item)
    return item


@contextmanager
def pushes(act: Callable[[dict[str, Any]], object], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Call *act* before each write of the record."""
    ti = (task_context() or {})["ti"]
    push = type(ti).xcom_push

    def observed(self: Any, key: str, value: Any, **kwargs: Any) -> Any:
        if key == run_display.KEY:
            act(value)
        return push(self, key, value, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(ti), "xcom_push", observed)
        yield


def test_write_that_takes_long(airflow_task: AirflowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that doesn't return holds up neither the end of its run for long nor the next run's beginning."""
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    monkeypatch.setattr(run_display, "PATIENCE", 0.1)
    released = threading.Event()
    with airflow_task() as run, pushes(lambda _: released.wait(30), monkeypatch):
        began = time.monotonic()
        try:
            assert pause.map([0.0]) == [0.0]
            assert pause.map([0.0, 0.0]) == [0.0, 0.0]
            assert time.monotonic() - began < 5
        finally:
            released.set()
        for thread in threading.enumerate():
            if thread.name == "record of a run":
                thread.join(10)
    assert [one["state"] for one in run.xcoms["fan_out"]["runs"]] == ["success", "success"]
    assert sum("takes longer than" in line["event"] for line in run.logs) == 1


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3)], ids=["error", "exit"])
def test_write_that_fails(error: BaseException, airflow_task: AirflowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a write raises is one warning, and the run goes on."""

    def fail(_: object) -> None:
        raise error

    with airflow_task() as run, pushes(fail, monkeypatch):
        assert pause.map([0.0]) == [0.0]
    (warning,) = [line["event"] for line in run.logs if "could not be written" in line["event"]]
    assert type(error).__name__ in warning


def states(run: Any) -> list[str]:
    """Return the states of the runs that the record shows now."""
    return [one["state"] for one in run.xcoms["fan_out"]["runs"]]


def test_end_soon_after_another(airflow_task: AirflowTask) -> None:
    """The end of a run is written though another has just ended, and the task works on; of many together."""
    with airflow_task() as run:
        for ended in (["success"], ["success"] * 4, ["success"] * 7):
            assert [pause.map([0.0]) for _ in ended[-3:]] == [[0.0]] * len(ended[-3:])
            assert eventually(lambda: states(run) == ended)  # noqa: B023 - at once


def test_end_of_the_task(airflow_task: AirflowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be written is written when the task is over."""
    monkeypatch.setattr(run_display, "EVERY", 3600.0)
    with airflow_task() as run:
        assert [pause.map([0.0]) for _ in range(3)] == [[0.0]] * 3
    assert states(run) == ["success"] * 3


def test_runs_that_begin_together(airflow_task: AirflowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of several threads that begin at the same time are all in the record of their task."""
    of = run_display._identity

    def slow(ti: Any) -> tuple[Any, ...]:
        time.sleep(0.05)
        return of(ti)

    monkeypatch.setattr(run_display, "_identity", slow)
    with airflow_task() as run, ThreadPoolExecutor(4) as pool:
        together = threading.Barrier(4)

        def fan_out() -> list[float]:
            together.wait(30)
            return pause.map([0.0])

        begun = [pool.submit(copy_context().run, fan_out) for _ in range(4)]
        assert [each.result() for each in begun] == [[0.0]] * 4
    assert states(run) == ["success"] * 4
