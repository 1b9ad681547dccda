"""How many workers a run has: as many as asked for, never more than items. The log has the reason for fewer."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import joblib
import pytest

from airflow_joblib.fan_out import run as fan_out_run
from airflow_joblib.pools import loky
from tests.unit.helpers import PROCESSES, square_or_repeat, task

processes = pytest.mark.parametrize("backend", PROCESSES)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="airflow_joblib")
    return caplog


def test_never_more_than_items(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """There are never more workers than items, and the log says so where a number was asked for."""
    started: list[int] = []
    pool = loky.LokyPool

    def counted(payload: Any, n_jobs: int, options: Any) -> Any:
        started.append(n_jobs)
        return pool(payload, n_jobs, options)

    monkeypatch.setattr(loky, "LokyPool", counted)
    assert task(square_or_repeat, backend="loky", n_jobs=50)([1, 2]) == [2, 4]
    assert started == [2]
    assert log.messages[0] == "square_or_repeat runs on 2 workers instead of 50: there are only 2 items."


@pytest.mark.parametrize(("n_jobs", "expected"), [(-1, 4), (-2, 3), (-4, 1), (-9, 1), (1, 1), (3, 3), (9, 9)])
def test_counts(n_jobs: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative number counts back from the CPUs that this process may use, and leaves at least one."""
    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.options.options import Defaults

    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    for backend in ("loky", "multiprocessing", "threading"):
        made = task(square_or_repeat, n_jobs=n_jobs, backend=backend)
        _, call = made._signature.bind(([1],), {})
        assert fan_out_run._FanOut(call, made.options, Defaults(), Host()).worker_count.requested() == expected


def test_all_cpus(log: pytest.LogCaptureFixture) -> None:
    """Asking for every CPU and having fewer items is worth no warning."""
    assert task(square_or_repeat, backend="threading", n_jobs=-1)([1, 2]) == [2, 4]
    assert log.messages == []


@pytest.mark.parametrize("inner", ["loky", "threading"])
def test_nested_in_threads(inner: str, log: pytest.LogCaptureFixture) -> None:
    """A fan-out inside an item runs in that item's worker, one item after another, and the log says so."""

    def where(item: int) -> tuple[int, int]:
        return os.getpid(), threading.get_ident()

    def outer(item: int) -> bool:
        return task(where, backend=inner)(range(3)) == [(os.getpid(), threading.get_ident())] * 3  # type: ignore[no-any-return]

    assert task(outer, backend="threading")(range(8)) == [True] * 8
    expected = (
        "where runs on 1 worker instead of 2: an item of another fan-out called it, whose workers use the CPUs already."
    )
    assert 1 <= log.messages.count(expected) <= 2  # once a worker, not once an item


@processes
def test_nested_in_processes(backend: str) -> None:
    """The same in a worker process."""

    def where(item: int) -> int:
        return os.getpid()

    def outer(item: int) -> bool:
        return task(where, backend=backend)(range(3)) == [os.getpid()] * 3  # type: ignore[no-any-return]

    assert task(outer, backend=backend)(range(3)) == [True] * 3
