"""What all tests share: an option for machines that have every server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``."""
    parser.addoption("--no-skips", action="store_true", help="a test that skips for want of a server has failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test that misses its server as failed, where every server must be there."""
    report = yield
    if report.skipped and item.config.getoption("--no-skips") and item.get_closest_marker("server"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where every server must be there: {report.longrepr}"
    return report
