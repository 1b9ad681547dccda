"""Ours under a real scheduler and LocalExecutor: beside ``.expand`` and joblib by hand, and by kinds of workers."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.cases import FRESH, OURS
from tests.benchmarks.scenarios import Scenario, Target
from tests.benchmarks.suite import Measured, Result, enough, evaluate, machine
from tests.harness import AirflowInstance, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness import DagRunResult

__all__ = ["SCENARIOS", "measure_airflow"]

_DAGS = Path(__file__).parent / "dag_files"

SCENARIOS = (
    Scenario(
        "airflow",
        "100 no-op items in a DAG under LocalExecutor, task start to end of the last",
        lambda _: [],
        [Target("ours / .expand", 1 / 20, lambda m: m[OURS]["seconds"] / m[".expand"]["seconds"])],
        rounds=3,
    ),
    Scenario(
        "airflow_workers",
        "4 workers of a task that use Variable; NumPy and pandas loaded by the DAG file",
        lambda _: [],
        [
            Target("seconds to the first item", 0.5, lambda m: m[OURS]["first item"]),
            Target("seconds until all 4 run", 1.0, lambda m: m[OURS]["seconds"]),
            Target("MiB of a worker", 40, lambda m: m[OURS]["MiB a worker"]),
        ],
        shown=("first item", "seconds"),
    ),
    Scenario(
        "airflow_many_workers",
        "64 such workers",
        lambda _: [],
        [
            Target("seconds until all 64 run", None, lambda m: m[OURS]["seconds"]),
            Target("MiB of all 64", None, lambda m: m[OURS]["MiB of all"]),
        ],
        rounds=3,
        shown=("first item", "seconds"),
    ),
)


def _contenders(scenario: str, quick: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return for each contender its DAG, whose task is called ``items``, and the parameters of that."""
    if scenario == "airflow":
        dags = {OURS: "bench_ours", ".expand": "bench_expand", "joblib by hand": "bench_by_hand"}
        return {name: (dag_id, {"count": 3 if quick else 100}) for name, dag_id in dags.items()}
    workers = {"workers": 2 if quick else 4 if scenario == "airflow_workers" else 64}
    backends = {OURS: "auto", FRESH: "loky"}
    return {name: ("bench_workers", {**workers, "backend": backend}) for name, backend in backends.items()}


def measure_airflow(*, quick: bool = False, rounds: int | None = None) -> Iterator[Result]:
    """Start an Airflow, and for each scenario run its DAGs in turn, round after round, and compare."""
    with tempfile.TemporaryDirectory() as home, AirflowInstance(Path(home), [_DAGS]) as airflow:
        airflow.wait_for_dags("bench_ours", "bench_expand", "bench_by_hand", "bench_workers")
        for scenario in SCENARIOS:
            yield _measure(airflow, scenario, quick=quick, rounds=rounds or (1 if quick else scenario.rounds))


def _measure(airflow: AirflowInstance, scenario: Scenario, *, quick: bool, rounds: int) -> Result:
    contenders = _contenders(scenario.name, quick)
    measured = {name: Measured(name) for name in contenders}
    before = os.getloadavg()[0]
    for turn in range(rounds):
        names = list(contenders)
        for name in names if turn % 2 == 0 else reversed(names):
            if not enough(measured[name]):
                measured[name].samples.append(_run(airflow, *contenders[name]))
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    result = Result(
        scenario.name, scenario.title, quick, list(scenario.shown), load, machine(), list(measured.values())
    )
    return evaluate(scenario, result)


def _run(airflow: AirflowInstance, dag_id: str, conf: dict[str, Any]) -> dict[str, float]:
    """Run a DAG; gives the seconds of its task, or the figures that this has returned."""
    result = airflow.run_dag(dag_id, conf, timeout=900)
    if not result.ok:
        raise HarnessError(f"{dag_id} ended as {result.state}.")
    sample = {"seconds": _seconds(result)}
    returned = airflow.xcom(dag_id, result.run_id, "items")
    sample |= returned if isinstance(returned, dict) else {}
    print(f"  {dag_id} {conf} ({sample['seconds']:.1f} s)", file=sys.stderr, flush=True)
    return sample


def _seconds(result: DagRunResult) -> float:
    """Return the time from the start of the first instance of ``items`` to the end of the last."""
    spans = [(task.start, task.end) for task in result.tasks if task.task_id == "items"]
    starts = [start for start, _ in spans if start]
    ends = [end for _, end in spans if end]
    return (max(ends) - min(starts)).total_seconds()
