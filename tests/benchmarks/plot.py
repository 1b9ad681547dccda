"""A scenario's figures as a small SVG: bars, or lines where the number of items grows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from tests.benchmarks.cases import OURS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.suite import Figure, Result

__all__ = ["STYLE", "plot"]

_OURS, _PEERS = "#2a78b5", "#b9c2c9"
_GROWN = re.compile(r"(.*), ([\d,]+)$")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "airflow-joblib",
    "font.size": 9,
    "axes.spines.top": False,
}


def plot(result: Result, file: Path) -> None:
    """Draw the figures that a scenario shows; the same figures give the same bytes."""
    shown = [figure for figure in result.figures if figure.figure in result.shown]
    if not shown:
        return
    grown = any(_GROWN.fullmatch(figure.name) for figure in shown)
    with mpl.rc_context({**STYLE, "axes.spines.right": False}):
        canvas = Canvas(figsize=(7, 0.6 + 0.32 * max(4, 8 if grown else len(shown))), layout="constrained")
        axes = canvas.subplots()
        (_lines if grown else _bars)(axes, shown)
        axes.set_title(result.title, loc="left")
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _bars(axes: Any, shown: list[Figure]) -> None:
    """One bar for each figure, its whiskers from the lowest sample to the highest."""
    labels = [figure.name if figure.figure == "seconds" else f"{figure.name}, {figure.figure}" for figure in shown]
    middles = [figure.median for figure in shown]
    spread = [[f.median - f.low for f in shown], [f.high - f.median for f in shown]]
    colors = [_OURS if figure.name.startswith(OURS) else _PEERS for figure in shown]
    bars = axes.barh(labels, middles, xerr=spread, color=colors, error_kw={"elinewidth": 0.8, "ecolor": "#555"})
    axes.bar_label(bars, [f"{middle:.3g}" for middle in middles], padding=6)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("seconds" if any(figure.figure == "seconds" for figure in shown) else shown[0].figure)


def _lines(axes: Any, shown: list[Figure]) -> None:
    """One line for each contender, over the number of items."""
    series: dict[str, list[tuple[int, float]]] = {}
    for figure in shown:
        match = _GROWN.fullmatch(figure.name)
        assert match is not None
        kind = figure.figure.rpartition(", ")[2]
        label = match[1] if kind == "seconds" else f"{match[1]}, {kind}"
        series.setdefault(label, []).append((int(match[2].replace(",", "")), figure.median))
    for label, points in series.items():
        axes.loglog(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xlabel("items")
    axes.set_ylabel("µs an item")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
