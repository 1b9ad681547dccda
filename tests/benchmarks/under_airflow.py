"""100 no-op items under a real scheduler and LocalExecutor: ours, ``.expand``, and joblib in a task by hand."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.cases import OURS
from tests.benchmarks.scenarios import Scenario, Target
from tests.benchmarks.suite import Measured, Result, evaluate, machine
from tests.harness import AirflowInstance, HarnessError

if TYPE_CHECKING:
    from tests.harness import DagRunResult

__all__ = ["SCENARIO", "measure_airflow"]

_DAGS = Path(__file__).parent / "dag_files"
#: Contender to its DAG; the task in each is called ``items``.
_CONTENDERS = {OURS: "bench_ours", ".expand": "bench_expand", "joblib by hand": "bench_by_hand"}

SCENARIO = Scenario(
    "airflow",
    "100 no-op items in a DAG under LocalExecutor, task start to end of the last",
    lambda _: [],
    [Target("ours / .expand", 1 / 20, lambda m: m[OURS]["seconds"] / m[".expand"]["seconds"])],
    rounds=3,
)


def measure_airflow(*, quick: bool = False, rounds: int | None = None) -> Result:
    """Start an Airflow, run each DAG in turn, round after round, and compare."""
    measured = {name: Measured(name) for name in _CONTENDERS}
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home, AirflowInstance(Path(home), [_DAGS]) as airflow:
        airflow.wait_for_dags(*_CONTENDERS.values())
        for turn in range(rounds or (1 if quick else SCENARIO.rounds)):
            names = list(_CONTENDERS)
            for name in names if turn % 2 == 0 else reversed(names):
                measured[name].samples.append(_run(airflow, _CONTENDERS[name], 3 if quick else 100))
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    cases = list(measured.values())
    result = Result(SCENARIO.name, SCENARIO.title, quick, list(SCENARIO.shown), load, machine(), cases)
    return evaluate(SCENARIO, result)


def _run(airflow: AirflowInstance, dag_id: str, count: int) -> dict[str, float]:
    result = airflow.run_dag(dag_id, {"count": count}, timeout=900)
    if not result.ok:
        raise HarnessError(f"{dag_id} ended as {result.state}.")
    sample = {"seconds": _seconds(result)}
    print(f"  {dag_id} ({sample['seconds']:.1f} s)", file=sys.stderr, flush=True)
    return sample


def _seconds(result: DagRunResult) -> float:
    """Return the time from the start of the first instance of ``items`` to the end of the last."""
    spans = [(task.start, task.end) for task in result.tasks if task.task_id == "items"]
    starts = [start for start, _ in spans if start]
    ends = [end for _, end in spans if end]
    return (max(ends) - min(starts)).total_seconds()
