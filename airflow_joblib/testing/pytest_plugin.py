"""The pytest plugin: the fixture ``airflow_task`` and the option ``--fan-out``.

pytest loads it in every session of an environment that has this library, so it imports nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from airflow_joblib.testing import TaskRun

_AS_DECORATED = "as-decorated"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fan-out``."""
    parser.getgroup("airflow-joblib").addoption(
        "--fan-out",
        choices=("sequential", "threading", _AS_DECORATED),
        default=_AS_DECORATED,
        help="how every fan-out of the session runs, whatever its options: in this thread, for a debugger; in "
        "threads, for speed; or as decorated (the default)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have every fan-out run as the option sets."""
    if config.getoption("fan_out") != _AS_DECORATED:
        from airflow_joblib.options import every_run

        every_run.use(config.getoption("fan_out"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let fan-outs run as decorated again."""
    if config.getoption("fan_out") != _AS_DECORATED:
        from airflow_joblib.options import every_run

        every_run.use(None)


@pytest.fixture
def airflow_task() -> Callable[..., AbstractContextManager[TaskRun]]:
    """:func:`airflow_joblib.testing.task`: fan-outs in a ``with`` of it run as in a task under an executor."""
    from airflow_joblib.testing import task

    return task
