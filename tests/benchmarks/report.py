"""The results as a table for a terminal and as one for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.harness.report import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.benchmarks.suite import Figure, Result

__all__ = ["as_markdown", "as_text"]

_HEAD = ("contender", "figure", "samples", "median", "lowest", "highest", "to the ideal", "ours to it", "ready to it")


def as_text(result: Result) -> str:
    """Return a scenario's figures, what was left out and why, and the targets."""
    lines = [f"\n{result.name}: {result.title}  (load {result.load[0]} to {result.load[1]})"]
    lines.append(table(_HEAD, map(_line, result.figures)))
    lines += [f"left out: {case.name}: {case.skipped}" for case in result.cases if case.skipped]
    lines += [f"{_verdict(target)}: {_target(target)}" for target in result.targets]
    return "\n".join(lines)


def _line(figure: Figure) -> Sequence[object]:
    name = f"{figure.name} ({figure.variant})" if figure.variant else figure.name
    sizes = (figure.median, figure.low, figure.high)
    ratios = (figure.to_ideal, figure.ours_to_it, figure.ready_to_it)
    return (name, figure.figure, figure.samples, *map(_number, sizes), *map(_ratio, ratios))


def _number(value: float) -> str:
    return f"{value:.4g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _verdict(target: dict[str, Any]) -> str:
    if target["limit"] is None and target["met"]:
        return "reported"
    return {True: "met", False: "MISSED", None: "not measured"}[target["met"]]


def _target(target: dict[str, Any]) -> str:
    value = "" if target["value"] is None else f" is {target['value']:.3f}"
    return f"{target['text']}{value}{_limit(target, ', at most {:g}')}"


def _limit(target: dict[str, Any], text: str) -> str:
    return "" if target["limit"] is None else text.format(target["limit"])


def by_contender(result: Result) -> str:
    """Return a row for each contender, with all its figures."""
    names = list(dict.fromkeys(figure.figure for figure in result.figures))
    rows: dict[str, dict[str, str]] = {}
    for figure in result.figures:
        rows.setdefault(figure.name, {})[figure.figure] = _number(figure.median)
    lines = [f"| {result.title} | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [f"| {name} | {' | '.join(row.get(each, '') for each in names)} |" for name, row in rows.items()]
    return "\n".join(lines)


def as_markdown(results: Iterable[Result]) -> str:
    """Return each target with what was measured, one line each, what has no targets by contender, and the plots."""
    results = list(results)
    lines = ["| work | figure | measured | target |", "| --- | --- | ---: | ---: |"]
    for result in results:
        for target in result.targets:
            value = "not measured" if target["value"] is None else _number(target["value"])
            lines.append(f"| {result.title} | {target['text']} | {value} | {_limit(target, '{:g}')} |")
    lines += [f"\n{by_contender(result)}" for result in results if result.figures and not result.targets]
    lines += [f"\n![{result.title}]({result.name}.svg)" for result in results if result.figures]
    return "\n".join(lines) + "\n"
