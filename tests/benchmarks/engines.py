"""``make bench-engines``: ours against the same engine driven directly, on a real cluster of two workers."""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_joblib import InvalidOptionError, parallel_task
from tests.benchmarks.cases import OURS
from tests.benchmarks.driven import CONNECTED, WHOLE, functions, ours
from tests.benchmarks.report import as_text
from tests.benchmarks.scenarios import Scenario, Target
from tests.benchmarks.suite import Measured, Result, evaluate, machine, pin
from tests.harness import clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["ENGINES", "main", "measure_engine", "why_not"]

OUT = Path("build") / "bench-engines"
#: Engine to what has to be installed for it.
ENGINES = {"dask": "distributed", "ray": "ray", "spark": "joblibspark"}
#: For Ray, whose nodes have to hold what is shared.
_STORE = 400 << 20


def scenarios(engine: str, quick: bool) -> list[tuple[Scenario, str, Sequence[Any], bytes | None]]:
    """Return what is measured: the scenario, the function, the items and what they share.

    Ours starts its workers in the call and ends them there, as a task does: so does what it is held against.
    """
    direct = named(engine, WHOLE)
    target = [Target(f"ours / {direct}", 1.1, lambda m: m[OURS]["seconds"] / m[direct]["seconds"])]
    count, size, shared = (40, 1, 20) if quick else (5000, 100, 200)
    items, argument = f"{count:,} items of 2 ms, {engine}", f"{size} MB shared by {shared} items, {engine}"
    return [
        (Scenario(f"{engine}_items", items, lambda _: [], target), "wait_for_cpu", [0.002] * count, None),
        (
            Scenario(f"{engine}_argument", argument, lambda _: [], []),
            "length",
            list(range(shared)),
            os.urandom(size * 10**6),
        ),
    ]


def named(engine: str, variant: str) -> str:
    """Return the name of a way to drive an engine: those that make their workers in each call have one of their own."""
    return f"{engine} itself, {variant}" if engine == "ray" else f"{engine} itself"


def why_not(engine: str) -> str:
    """Return why an engine is left out; empty if it isn't."""
    if importlib.util.find_spec(ENGINES[engine]) is None:
        return f"{engine} is left out: it is not installed. make test ENGINES=1 does that."
    try:
        parallel_task(backend=engine)(abs)
    except InvalidOptionError as error:
        return f"{engine} is left out: {error}"
    return ""


def measure_engine(engine: str, *, quick: bool = False, rounds: int | None = None) -> Iterator[Result]:
    """Start a cluster, and measure both kinds of work in interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder, _cluster(engine, Path(folder)) as cluster:
        # Ray allows one connection a process, and Spark one session: ours takes that over.
        for scenario, name, items, data in scenarios(engine, quick):
            with CONNECTED[engine](cluster) as direct:
                cases: list[tuple[Measured, Any]] = [(Measured(OURS), ours(engine, cluster.options))]
                cases += [(_direct(engine, variant), run) for variant, run in direct.items()]
                before = os.getloadavg()[0]
                for turn in range(-1, rounds or (1 if quick else 5)):
                    for measured, run in cases if turn % 2 == 0 else reversed(cases):
                        sample = _sample(measured, run, functions()[name], items, data)
                        if turn >= 0:  # in the first round Java compiles what it runs, and modules are imported
                            measured.samples.append(sample)
            load = [round(before, 2), round(os.getloadavg()[0], 2)]
            found = [measured for measured, _ in cases]
            yield evaluate(
                scenario,
                Result(scenario.name, scenario.title, quick, list(scenario.shown), load, machine(), found),
            )


def _direct(engine: str, variant: str) -> Measured:
    name = named(engine, variant)
    return Measured(name, "" if variant in name else variant)


def _cluster(engine: str, folder: Path) -> Any:
    if engine == "ray":
        return clusters.ray_cluster(folder, memory=_STORE)
    return clusters.ENGINES[engine](folder)


def _sample(
    measured: Measured, run: Callable[..., list[Any]], function: Any, items: Sequence[Any], data: Any
) -> dict[str, float]:
    """Return one sample, with workers that are there: the direct way is called with a few items before."""
    few = items[:4]
    warm = run(function, few, None if data is None else b"")
    began = time.perf_counter()
    results = run(function, items, data)
    seconds = time.perf_counter() - began
    wanted = [item + len(data) for item in items] if data is not None else list(items)
    assert len(warm) == len(few)
    assert results == wanted
    getattr(run, "end", bool)()
    print(f"  {measured.name} {measured.variant} ({seconds:.2f} s)", file=sys.stderr, flush=True)
    return {"seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every engine that is there; 0 even where a target is missed, since that is for a reader to judge."""
    parser = argparse.ArgumentParser(prog="bench-engines", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=ENGINES, help="these engines")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round: does it work at all?")
    parser.add_argument("--rounds", type=int, help="how often each case is measured")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    pin()
    ratios = []
    for engine in options.only or ENGINES:
        if reason := why_not(engine):
            print(reason)
            continue
        for result in measure_engine(engine, quick=options.quick, rounds=options.rounds):
            (options.out / f"{result.name}.json").write_text(result.json())
            print(as_text(result), flush=True)
            ratios += [target["value"] for target in result.targets if target["value"] is not None]
    if ratios:
        print(f"\nours / the engine itself: median {statistics.median(ratios):.3f}, highest {max(ratios):.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
