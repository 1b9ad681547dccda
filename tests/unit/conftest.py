"""What every unit test gets: no configuration of this machine, and a look at what it left behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

from tests.unit.helpers import eventually, is_worker, worker_processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Deadlines and health checks measure the machine, which may be a loaded one.
settings.register_profile("unit", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Keep the collector from what stays: thousands of tests and their modules, in this process and in its forks."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide whatever this machine says in ``AIRFLOW__JOBLIB__*``."""
    for name in tuple(os.environ):
        if name.startswith("AIRFLOW__JOBLIB__"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _leaves_no_worker() -> Iterator[None]:
    """Fail a test that leaves a worker process behind."""
    before = _workers()
    yield
    assert eventually(lambda: not _workers() - before), f"left behind: {_workers() - before}"


def _workers() -> set[psutil.Process]:
    """Return the workers that are children of this process, as the kernel lists them: each test looks twice."""
    lists = [*Path("/proc/self/task").glob("*/children")]
    if not lists:  # another platform
        return set(worker_processes())
    children = " ".join(_text(file) for file in lists).split()
    return {child for pid in children if (child := _process(int(pid))) is not None and is_worker(child)}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # of a thread that has ended meanwhile
        return ""


def _process(pid: int) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


@pytest.fixture(autouse=True, scope="session")
def _imports_no_airflow() -> Iterator[None]:
    """Fail the session if a unit test imported Airflow here."""
    before = "airflow" in sys.modules
    yield
    assert before or "airflow" not in sys.modules


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What runs log, from their progress on."""
    caplog.set_level(logging.INFO, logger="airflow_joblib")
    return caplog


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[list[Mapping[str, Any]]]:
    """What runs make known of their failed items."""
    from airflow_joblib.fan_out.host import Host

    found: list[list[Mapping[str, Any]]] = []
    monkeypatch.setattr(Host, "publish_failures", lambda _, records: found.append(records))
    return found


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Let SIGINT interrupt, which a shell lets its background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
