"""What all tests share: which are run, and an option for machines that have every server, engine, package and tool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

# NumPy comes with joblib into hundreds of processes. In each the threads of its BLAS would first spin for their share
# of a CPU, a tenth of a second, before they sleep: now they sleep at once. Set before anything here imports NumPy.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``."""
    parser.addoption("--no-skips", action="store_true", help="a test that skips for want of something has failed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, or for the night, where whole folders are run: who names a file, or marks, means it."""
    if config.option.markexpr or not all(Path(argument).is_dir() for argument in config.args):
        return
    left_out = [item for item in items if any(map(item.get_closest_marker, ("nightly", "slow")))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test that misses its server, or any package, as failed, where everything must be there.

    Others may skip, as one that needs a later Python does.
    """
    report = yield
    wanted = item.get_closest_marker("server") is not None or _misses_a_package(call)
    if report.skipped and wanted and item.config.getoption("--no-skips"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report a file that skips as a whole as failed: it misses a package."""
    report = yield
    if report.skipped and collector.config.getoption("--no-skips"):
        _fail(report)
    return report


def _misses_a_package(call: pytest.CallInfo[None]) -> bool:
    return call.excinfo is not None and call.excinfo.traceback[-1].name == pytest.importorskip.__name__


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped, where everything must be there: {report.longrepr}"
