"""Progress: a steady beat in the log, a bar where somebody watches, a line at the end."""

from __future__ import annotations

import io
import logging
import sys
from types import ModuleType
from typing import Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.fan_out import progress
from airflow_joblib.fan_out.progress import Progress
from airflow_joblib.fan_out.run_stats import Times
from airflow_joblib.system import clock
from tests.unit.helpers import eventually


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="airflow_joblib")
    return caplog


class Items:
    """How far the items of a run are, as tests say."""

    def __init__(self, total: int | None, failed: int = 0) -> None:
        self.total = total
        self.done = 0
        self.earlier = 0
        self.skipped = self.retried = 0
        self.failed = failed
        self.wait = 0.0
        self.rate_limit: float | None = None


def test_beat(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log gets a line each beat, and none in between."""
    now = [100.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    items = Items(1000)
    with Progress("resize", items) as shown:
        for _ in range(30):
            now[0] += 1
            items.done += 10
            shown.update()
    assert lines.messages == [
        "resize: 100 of 1,000 items done, 10.0 a second, 90 s left",
        "resize: 200 of 1,000 items done, 10.0 a second, 80 s left",
        "resize: 300 of 1,000 items done, 10.0 a second, 70 s left",
    ]


def test_unknown_total(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the number of items isn't known, the line claims nothing of what is left."""
    now = [0.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    items = Items(None)
    with Progress("resize", items) as shown:
        now[0] = 10.0
        items.done = 5000
        shown.update()
    assert lines.messages == ["resize: 5,000 items done, 500.0 a second"]


def test_nothing_done_yet(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat before the first item is done claims nothing of what is left."""
    now = [0.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    with Progress("resize", Items(10)) as shown:
        now[0] = 10.0
        shown.update()
    assert lines.messages == ["resize: 0 of 10 items done"]


@pytest.mark.parametrize(
    ("workers", "shown_as", "faster"), [(1, "1 worker", ""), (3, "3 workers", ", 2.0 times as fast as one by one")]
)
def test_summary(workers: int, shown_as: str, faster: str, lines: pytest.LogCaptureFixture) -> None:
    """The run ends with one line that sums it up."""
    items = Items(1000)
    items.done = 1000
    with Progress("resize", items) as shown:
        shown.finish(workers, 2.5, Times(2.5, 5.0, 0.0, 2.5, 0.0, 0.0, 0.0))
    assert lines.messages == [f"resize: 1,000 items on {shown_as} in 2.50 s{faster}"]


@pytest.mark.parametrize(
    ("one_by_one", "factor"), [(0.0024, "0.001"), (2.3, "0.9"), (2.5, "1.0"), (30.0, "12.0"), (0.0, "0")]
)
def test_factor(one_by_one: float, factor: str, lines: pytest.LogCaptureFixture) -> None:
    """How far below a plain loop a run is can be read, too, and one item is an item."""
    items = Items(1)
    items.done = 1
    with Progress("resize", items) as shown:
        shown.finish(2, 2.5, Times(2.5, one_by_one, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert lines.messages == [f"resize: 1 item on 2 workers in 2.50 s, {factor} times as fast as one by one"]


def test_a_run_logs_its_summary(lines: pytest.LogCaptureFixture) -> None:
    """A fan-out logs the function's name, the items and the workers that it had."""
    task: Any = parallel_task(n_jobs=2, backend="threading")(abs)
    task([-1, -2, -3])
    assert len(lines.messages) == 1
    assert lines.messages[0].startswith("abs: 3 items on 2 workers in ")


def test_beat_while_items_take_long(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beat goes on while no item finishes."""
    monkeypatch.setattr(progress, "BEAT", 0.1)
    state = "wait: 0 of 2 items done"

    def wait(item: int) -> bool:
        return eventually(lambda: lines.messages.count(state) >= 2, 60)

    task: Any = parallel_task(n_jobs=2, backend="threading")(wait)
    assert task([1, 2]) == [True, True]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture) -> None:
    """A terminal shows a bar instead of the beat, and it goes away at the end."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "BEAT", 0.0)
    items = Items(10)
    with Progress("resize", items) as shown:
        for items.done in (4, 10):
            shown.update()
    assert "resize" in terminal.getvalue()
    assert shown._bar is not None
    assert shown._bar.n == 10
    assert lines.messages == []


def test_bar_with_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar counts items that failed as well, and says how many those are and how many tries were repeated."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    items = Items(10, failed=2)
    items.retried = 3
    with Progress("resize", items) as shown:
        items.done = 8
        shown.update()
        assert shown._bar is not None
        shown._bar.refresh()
        assert shown._bar.n == 10
    assert "failed=2, retried=3" in terminal.getvalue()


def test_bar_goes_away_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item's failure closes the bar."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress("resize", Items(10))
    with pytest.raises(ValueError, match="x"), shown:
        raise ValueError("x")
    assert shown._bar is not None
    assert shown._bar.disable


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook counts as somebody watching; a log file, or no standard error at all, does not."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not progress._watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress._watched()
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert progress._watched()
