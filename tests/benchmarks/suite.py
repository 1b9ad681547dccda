"""Measure a scenario: round after round, in each round every case once, in turn from either end."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.cases import JOBS, OURS
from tests.benchmarks.contenders import BACKEND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.cases import Case
    from tests.benchmarks.scenarios import Scenario, Target

__all__ = ["Figure", "Measured", "Result", "enough", "evaluate", "machine", "measure", "pin"]

#: Seconds of one sample beyond which a case is measured once only.
_LONG = 9.0
_TOP = Path(__file__).parents[2]
_PACKAGES = ("airflow-joblib", "apache-airflow-task-sdk", "cloudpickle", "joblib", "mpire", "numpy")


@dataclass
class Measured:
    """What came of a case: samples, or why there are none."""

    name: str
    variant: str = ""
    samples: list[dict[str, float]] = field(default_factory=list)
    skipped: str = ""

    def median(self, figure: str) -> float:
        return statistics.median(sample[figure] for sample in self.samples if figure in sample)


@dataclass
class Figure:
    """One line of the table: a figure of a contender, and its ratios; None where there is nothing to compare."""

    name: str
    figure: str
    variant: str
    samples: int
    median: float
    low: float
    high: float
    to_ideal: float | None = None
    ours_to_it: float | None = None
    ready_to_it: float | None = None


@dataclass
class Result:
    """All that a scenario gave, as it is written to JSON."""

    name: str
    title: str
    quick: bool
    shown: list[str]
    load: list[float]
    machine: dict[str, Any]
    cases: list[Measured]
    figures: list[Figure] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def pin() -> None:
    """Use as many CPUs as there are workers, whatever the machine has."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:JOBS])


def measure(
    scenario: Scenario, *, quick: bool = False, rounds: int | None = None, only: Callable[[Case], object] = bool
) -> Result:
    """Measure the cases of a scenario, or those that *only* wants, and compare them."""
    cases = [(number, case) for number, case in enumerate(scenario.cases(quick)) if only(case)]
    measured = [Measured(case.name, case.variant) for _, case in cases]
    before = os.getloadavg()[0]
    for turn in range(rounds or (1 if quick else scenario.rounds)):
        order = list(zip(cases, measured, strict=True))
        for (number, _), result in order if turn % 2 == 0 else reversed(order):
            if not enough(result):
                _run(scenario.name, number, result, quick=quick)
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    return evaluate(
        scenario, Result(scenario.name, scenario.title, quick, list(scenario.shown), load, machine(), measured)
    )


def enough(result: Measured) -> bool:
    """Return whether a case is not to be measured again: it can't be, or takes long."""
    return bool(result.skipped) or any(sample["seconds"] > _LONG for sample in result.samples)


def _run(name: str, number: int, result: Measured, *, quick: bool) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.child", name, str(number), *(["--quick"] if quick else [])]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_TOP)
    if done.returncode:
        raise RuntimeError(f"{name}: {result.name} failed:\n{done.stdout}{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    result.skipped = answer.get("skipped", "")
    result.samples += answer.get("samples", [])
    print(f"  {name}: {result.name} {result.variant} ({time.monotonic() - began:.1f} s)", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Return what a reader needs to know of where it was measured."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "backend": os.environ.get(BACKEND, "auto"),
    }


def evaluate(scenario: Scenario, result: Result) -> Result:
    """Fill in the figures and what became of the targets."""
    best = _best(result.cases)
    medians = {case.name: {figure: case.median(figure) for figure in _figures(case)} for case in best}
    ideal = _or_none(scenario.ideal, medians) if scenario.ideal is not None else None
    for case in best:
        for figure in _figures(case):
            if figure != "ideal":
                result.figures.append(_figure(case, figure, ideal, medians.get(OURS, {})))
    result.targets = [_judged(target, medians) for target in scenario.targets]
    return result


def _best(cases: Sequence[Measured]) -> list[Measured]:
    """Return each contender that was measured once, with the variant that was fastest."""
    best: dict[str, Measured] = {}
    for case in cases:
        known = best.get(case.name)
        if case.samples and (known is None or case.median("seconds") < known.median("seconds")):
            best[case.name] = case
    return list(best.values())


def _figures(case: Measured) -> list[str]:
    return list(dict.fromkeys(figure for sample in case.samples for figure in sample))


def _figure(case: Measured, figure: str, ideal: float | None, ours: dict[str, float]) -> Figure:
    values = [sample[figure] for sample in case.samples if figure in sample]
    line = Figure(case.name, figure, case.variant, len(values), case.median(figure), min(values), max(values))
    if figure in {"seconds", "ready", "less 2"}:
        own = [sample[figure] / sample["ideal"] for sample in case.samples if "ideal" in sample and figure in sample]
        line.to_ideal = statistics.median(own) if own else line.median / ideal if ideal else None
    if case.name != OURS and figure in ours:
        line.ours_to_it = ours[figure] / line.median
        line.ready_to_it = ours["ready"] / line.median if figure == "seconds" and "ready" in ours else None
    return line


def _judged(target: Target, medians: dict[str, dict[str, float]]) -> dict[str, Any]:
    value = _or_none(target.value, medians)
    return {
        "text": target.text,
        "limit": target.limit,
        "value": value,
        "met": None if value is None else target.limit is None or value <= target.limit,
    }


def _or_none(value: Callable[..., float], medians: dict[str, dict[str, float]]) -> float | None:
    """Compute from medians; None where one of them was not measured."""
    try:
        return value(medians)
    except (KeyError, ValueError):
        return None
