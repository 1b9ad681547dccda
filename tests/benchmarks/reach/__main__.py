"""``make bench-reach``: measure every way to run items, fit a model, and write ``build/reach/reach.json``."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.reach.measure import measure
from tests.benchmarks.reach.model import Point
from tests.benchmarks.reach.page import NAMES, as_markdown, fitted, plot
from tests.benchmarks.suite import machine, pin
from tests.harness.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path("build") / "reach"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or make the page's parts of what was measured before."""
    parser = argparse.ArgumentParser(prog="bench-reach", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few choices, tiny sizes: does it work at all?")
    parser.add_argument("--rounds", type=int, default=1, help="how often each run is measured")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    parser.add_argument("--docs", type=Path, help="measure nothing, put the plots and the tables there")
    options = parser.parse_args(arguments)
    file = options.out / "reach.json"
    if not options.docs:
        options.out.mkdir(parents=True, exist_ok=True)
        file.write_text(_measured(quick=options.quick, rounds=options.rounds))
    points, xcoms, reasons = _read(file)
    print(_as_text(points, xcoms, reasons))
    folder = options.docs or options.out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(as_markdown(fitted(points), fitted(xcoms), reasons))
    plot(points, xcoms, folder)
    return 0


def _measured(*, quick: bool, rounds: int) -> str:
    pin()
    before = os.getloadavg()[0]
    points, xcoms, reasons = measure(quick=quick, rounds=rounds)
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    given = {"machine": machine(), "load": load, "quick": quick, "left out": reasons}
    return json.dumps({**given, "points": [*map(asdict, points)], "xcoms": [*map(asdict, xcoms)]}, indent=1) + "\n"


def _read(file: Path) -> tuple[list[Point], list[Point], list[str]]:
    data = json.loads(file.read_text())
    return [Point(**each) for each in data["points"]], [Point(**each) for each in data["xcoms"]], data["left out"]


def _as_text(points: Sequence[Point], xcoms: Sequence[Point], reasons: Sequence[str]) -> str:
    head = ("choice", "start s", "item ms", "own second", "MiB s", "off by")
    rows = [
        (NAMES[name].replace("`", ""), *map("{:.3f}".format, costs), f"{model.error:.0%}")
        for name, model in {**fitted(points), **fitted(xcoms)}.items()
        for costs in [(model.start, model.item * 1000, model.work, model.mebibyte)]
    ]
    return "\n".join([table(head, rows), *reasons])


if __name__ == "__main__":
    raise SystemExit(main())
