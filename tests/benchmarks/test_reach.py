"""The model of costs, the page that is made of it, and a tiny run of what measures it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.reach import __main__ as reach
from tests.benchmarks.reach.model import Model, Point, break_even, fit
from tests.benchmarks.reach.page import as_markdown, fitted, plot

if TYPE_CHECKING:
    from pathlib import Path

GRID = [(1, 0.0, 10), (1000, 0.0, 10), (100, 0.05, 10), (1000, 0.01, 10), (200, 0.0, 50_000)]
LOOP = Model("loop", 0.5, 0.0, 1.0, 0.02)
LOKY = Model("loky", 1.5, 0.0001, 0.5, 0.03)


def _points(model: Model, grid: list[tuple[int, float, int]]) -> list[Point]:
    return [Point(model.choice, *each, model.predict(*each)) for each in grid]


@pytest.mark.parametrize("model", [LOOP, LOKY, Model("expand", 0.0, 0.7, 0.5, 0.0)], ids=lambda model: model.choice)
def test_fit(model: Model) -> None:
    """Costs that made the figures are found again, and no cost is negative."""
    found = fit(model.choice, _points(model, GRID))
    assert found.start == pytest.approx(model.start, abs=1e-6)
    assert found.item == pytest.approx(model.item, abs=1e-6)
    assert found.work == pytest.approx(model.work, abs=1e-6)
    assert found.mebibyte == pytest.approx(model.mebibyte, abs=1e-6)
    assert found.error < 1e-6


def test_fit_of_noise() -> None:
    """Where noise would make a cost negative, it is none."""
    points = [Point("loop", count, 0.0, 0, took) for count, took in ((1, 2.0), (1000, 1.9), (2000, 1.8))]
    found = fit("loop", points)
    assert found.item == 0
    assert found.start == pytest.approx(1.9, abs=0.05)


def test_break_even() -> None:
    """The number of items from which one choice takes less time than another, or that there is none."""
    number = break_even(LOKY, LOOP, 0.01)
    assert number is not None
    assert LOKY.predict(number, 0.01) <= LOOP.predict(number, 0.01)
    assert LOKY.predict(number - 1, 0.01) > LOOP.predict(number - 1, 0.01)
    assert break_even(LOKY, LOOP, 0.0) is None
    assert break_even(LOOP, LOKY, 0.0) == 1
    assert break_even(LOOP, LOKY, 1.0) is None  # it is, but for a few items only


def test_page(tmp_path: Path) -> None:
    """The page has a line for each choice, the break-even points, and plots that are the same every time."""
    points = [*_points(LOOP, GRID), *_points(LOKY, GRID)]
    sizes = [(1, 0.0, size) for size in (1000, 1_000_000, 10_000_000)]
    xcoms = _points(Model("database", 1.0, 0.0, 0.0, 0.1), sizes)
    text = as_markdown(fitted(points), fitted(xcoms), ["ray is left out: it is not installed. Do this."])
    assert "| a loop in one `@task` | 0.50 s | 0.00 ms | 1.00 s | 0.020 s | 0% |" in text
    assert "| fan-out, `loky` | a loop in one `@task` |" in text
    assert "| the metadata database | 1.00 s | 0.100 s | 0% |" in text
    assert "- ray is left out." in text
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        plot(points, xcoms, folder)
    for name in ("choices.svg", "xcom.svg"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


@pytest.mark.nightly
@pytest.mark.integration
def test_quick_run(tmp_path: Path) -> None:
    """A tiny run under a real Airflow gives figures of each choice and store, and the page of them."""
    assert reach.main(["--quick", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "reach.json").read_text())
    assert [point["choice"] for point in data["points"]] == ["loop", "threads", "loky", "expand"]
    assert {point["choice"] for point in data["xcoms"]} == {"database", "object storage"}
    assert all(point["took"] > 0 for point in [*data["points"], *data["xcoms"]])
    assert reach.main(["--out", str(tmp_path), "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs" / "results.md").read_text() == (tmp_path / "results.md").read_text()
