"""``make bench``: measure, print, and write ``build/bench/<scenario>.json`` and ``.svg``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.contenders import BACKEND
from tests.benchmarks.report import as_markdown, as_text
from tests.benchmarks.scenarios import SCENARIOS
from tests.benchmarks.suite import Figure, Measured, Result, measure, pin
from tests.benchmarks.under_airflow import SCENARIOS as UNDER_AIRFLOW
from tests.benchmarks.under_airflow import measure_airflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUT = Path("build") / "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 0 even where a target is missed, since that is for a reader to judge."""
    options = _parser().parse_args(arguments)
    if options.backend:
        os.environ[BACKEND] = options.backend
    options.out.mkdir(parents=True, exist_ok=True)
    if options.docs:
        return _write_docs(options.docs, _read(options.out))
    for result in _measured(options):
        (options.out / f"{result.name}.json").write_text(result.json())
        print(as_text(result), flush=True)
    _plot(_read(options.out), options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = [scenario.name for scenario in (*SCENARIOS, *UNDER_AIRFLOW)]
    parser.add_argument("--only", nargs="*", choices=names, metavar="SCENARIO", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round: does it work at all?")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--backend", choices=("auto", "loky", "multiprocessing"), help="the processes of ours")
    parser.add_argument("--airflow", action="store_true", help="under a real Airflow instead")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    parser.add_argument("--docs", type=Path, help="measure nothing, put the plots and the table of results there")
    return parser


def _measured(options: argparse.Namespace) -> Iterable[Result]:
    pin()
    if options.airflow:
        yield from measure_airflow(quick=options.quick, rounds=options.rounds, only=options.only or ())
        return
    for scenario in SCENARIOS:
        if not options.only or scenario.name in options.only:
            yield measure(scenario, quick=options.quick, rounds=options.rounds)


def _read(folder: Path) -> list[Result]:
    """Read the results that a folder has, in the order of the scenarios."""
    order = [scenario.name for scenario in SCENARIOS]
    found = [_result(json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda result: order.index(result.name) if result.name in order else len(order))


def _result(data: dict[str, object]) -> Result:
    result = Result(**data)  # type: ignore[arg-type]
    result.cases = [Measured(**case) for case in result.cases]  # type: ignore[arg-type]
    result.figures = [Figure(**figure) for figure in result.figures]  # type: ignore[arg-type]
    return result


def _plot(results: Sequence[Result], folder: Path) -> None:
    try:
        from tests.benchmarks.plot import plot
    except ImportError:
        print("No plots: matplotlib is not installed, it comes with the extra bench.", file=sys.stderr)
        return
    for result in results:
        plot(result, folder / f"{result.name}.svg")


def _write_docs(folder: Path, results: Sequence[Result]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(as_markdown(results))
    _plot(results, folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
