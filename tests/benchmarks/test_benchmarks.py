"""The benchmark itself: a tiny run of each scenario, so that it can't rot. What it measures is not judged here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks.cases import OURS
from tests.benchmarks.plot import plot
from tests.benchmarks.report import as_markdown, as_text
from tests.benchmarks.scenarios import SCENARIOS, Scenario, Target
from tests.benchmarks.suite import Figure, Measured, Result, evaluate, measure
from tests.benchmarks.under_airflow import SCENARIOS as UNDER_AIRFLOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.cases import Case


def _few(scenario: Scenario) -> list[tuple[str, str]]:
    """Every case at the first scenario; ours and one that starts quickly at the others."""
    cases = [_key(case) for case in scenario.cases(True)]
    if scenario is SCENARIOS[0]:
        return cases
    quick = [case for case in cases if not case[0].startswith((OURS, "joblib"))]
    return cases[:1] + quick[:1]


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario_runs(scenario: Scenario, tmp_path: Path) -> None:
    """Each scenario gives samples of each case, or says why not, and figures, a table, JSON and a plot of them."""
    few = _few(scenario)
    result = measure(scenario, quick=True, only=lambda case: _key(case) in few)
    assert [_key(case) for case in result.cases] == few
    assert all(bool(case.samples) != bool(case.skipped) for case in result.cases)
    assert {figure.name for figure in result.figures} == {case.name for case in result.cases if case.samples}
    assert len(result.targets) == len(scenario.targets)
    assert all(target["text"] in as_text(result) for target in result.targets)
    (tmp_path / f"{scenario.name}.json").write_text(result.json())
    assert bench._read(tmp_path) == [result]
    plot(result, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").exists() == bool(result.figures)


@pytest.mark.nightly
@pytest.mark.integration
def test_under_airflow(tmp_path: Path) -> None:
    """A tiny run under a real Airflow gives the figures that the targets name, those that are only reported too."""
    assert bench.main(["--airflow", "--quick", "--out", str(tmp_path)]) == 0
    found = {result.name: result for result in bench._read(tmp_path)}
    assert found.keys() == {scenario.name for scenario in UNDER_AIRFLOW}
    assert all(target["value"] is not None for result in found.values() for target in result.targets)
    assert "reported: MiB of all 64" in as_text(found["airflow_many_workers"])


def _case(name: str, *seconds: float, variant: str = "", **more: float) -> Measured:
    return Measured(name, variant, [{"seconds": one, **more} for one in seconds])


def _result(*cases: Measured) -> Result:
    scenario = Scenario(
        "made_up",
        "Made up",
        lambda _: [],
        [
            Target("ours / slow", 0.5, lambda m: m[OURS]["seconds"] / m["slow"]["seconds"]),
            Target("ours / missing", 1.0, lambda m: m[OURS]["seconds"] / m["missing"]["seconds"]),
        ],
        ideal=lambda m: m["slow"]["seconds"] / 2,
    )
    return evaluate(scenario, Result("made_up", "Made up", False, ["seconds"], [0.0, 0.0], {}, list(cases)))


def _line(result: Result, name: str) -> Figure:
    return next(line for line in result.figures if line.name == name and line.figure == "seconds")


def test_ratios() -> None:
    """A figure is the median of its samples, with its ratio to the ideal and that of ours to it."""
    result = _result(_case(OURS, 3.0, 1.0, 2.0), _case("slow", 4.0))
    ours, slow = _line(result, OURS), _line(result, "slow")
    assert (ours.median, ours.low, ours.high, ours.samples) == (2.0, 1.0, 3.0, 3)
    assert (ours.to_ideal, ours.ours_to_it) == (1.0, None)
    assert (slow.to_ideal, slow.ours_to_it) == (2.0, 0.5)


def test_ideal_of_samples() -> None:
    """Where items tell their own CPU time, each sample is compared with its own ideal."""
    assert _line(_result(_case(OURS, 3.0, ideal=1.5), _case("slow", 4.0)), OURS).to_ideal == 2.0


def test_best_variant_counts() -> None:
    """Of the variants of a contender the fastest is shown."""
    result = _result(_case(OURS, 1.0), _case("slow", 9.0, variant="a"), _case("slow", 5.0, variant="b"))
    assert (_line(result, "slow").median, _line(result, "slow").variant) == (5.0, "b")


def test_targets() -> None:
    """A target is met, missed, or not measured where a case that it needs is not there."""
    met, unknown = _result(_case(OURS, 2.0), _case("slow", 4.0)).targets
    assert (met["value"], met["met"], unknown["value"], unknown["met"]) == (0.5, True, None, None)
    assert _result(_case(OURS, 2.1), _case("slow", 4.0)).targets[0]["met"] is False


def test_plot_is_reproducible(tmp_path: Path) -> None:
    """The same figures give the same bytes, which name no date."""
    result = _result(_case(OURS, 1.0), _case("slow", 9.0))
    for name in ("one.svg", "two.svg"):
        plot(result, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert "<dc:date>" not in text


def test_docs(tmp_path: Path) -> None:
    """``--docs`` puts the targets and a plot of each scenario into the documentation."""
    result = _result(_case(OURS, 2.0), _case("slow", 4.0))
    (tmp_path / "made_up.json").write_text(json.dumps(json.loads(result.json())))
    assert bench.main(["--out", str(tmp_path), "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs" / "results.md").read_text() == as_markdown([result])
    assert (tmp_path / "docs" / "made_up.svg").exists()


def test_no_targets() -> None:
    """What has no targets is a table of the contenders' figures in the documentation."""
    result = _result(_case(OURS, 2.0, CPU=1.5), _case("slow", 4.0))
    result.targets = []
    table = "| Made up | seconds | CPU |\n| --- | ---: | ---: |\n| ours | 2 | 1.5 |\n| slow | 4 |  |"
    assert table in as_markdown([result])


def test_case_names_are_unique() -> None:
    """No two cases of a scenario go by the same name and variant."""
    for scenario in SCENARIOS:
        names: list[tuple[str, str]] = [_key(case) for case in scenario.cases(True)]
        assert len(names) == len(set(names)), scenario.name


def _key(case: Case | Measured) -> tuple[str, str]:
    return case.name, case.variant
