"""Ours under a real scheduler and LocalExecutor: beside ``.expand`` and joblib by hand, and by kinds of workers."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.cases import FRESH, OURS
from tests.benchmarks.memory import MB, peak_of_all
from tests.benchmarks.scenarios import Scenario, Target
from tests.benchmarks.slow_server import refused, slow_server
from tests.benchmarks.suite import Measured, Result, enough, evaluate, machine
from tests.harness import AirflowInstance, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness import DagRunResult

__all__ = ["SCENARIOS", "measure_airflow"]

_DAGS = Path(__file__).parent / "dag_files"
#: Of a run of requests: its DAG, and how many there are at full size; 2,000 mapped instances take too long.
_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{OURS}, 32 threads": ("bench_requests", {"count": 2000, "way": "threads", "workers": 32}),
    f"{OURS}, async, one process": ("bench_requests", {"count": 2000, "way": "asynchronous", "workers": 1}),
    f"{OURS}, async, two processes": ("bench_requests", {"count": 2000, "way": "asynchronous", "workers": 2}),
    ".expand, 200 requests only": ("bench_requests_expand", {"count": 200}),
}
#: Seconds between two looks at the memory of requests' runs, which are timed at the same time.
_SELDOM = 0.25

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
    Scenario(
        "airflow_requests",
        "2,000 requests of 50 ms, of which a server takes 400 a second",
        lambda _: [],
        [],
        rounds=3,
    ),
)


def _contenders(scenario: str, quick: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return for each contender its DAG, whose task is called ``items``, and the parameters of that."""
    if scenario == "airflow_requests":
        return {name: (dag_id, conf | ({"count": 4} if quick else {})) for name, (dag_id, conf) in _REQUESTS.items()}
    if scenario == "airflow":
        dags = {OURS: "bench_ours", ".expand": "bench_expand", "joblib by hand": "bench_by_hand"}
        return {name: (dag_id, {"count": 3 if quick else 100}) for name, dag_id in dags.items()}
    workers = {"workers": 2 if quick else 4 if scenario == "airflow_workers" else 64}
    backends = {OURS: "auto", FRESH: "loky"}
    return {name: ("bench_workers", {**workers, "backend": backend}) for name, backend in backends.items()}


def measure_airflow(*, quick: bool = False, rounds: int | None = None, only: Sequence[str] = ()) -> Iterator[Result]:
    """Start an Airflow, and for each scenario run its DAGs in turn, round after round, and compare.

    Args:
        quick: Whether sizes shall be those of a smoke run.
        rounds: How often each DAG is run.
        only: Names of the scenarios; none for all.
    """
    with tempfile.TemporaryDirectory() as home, AirflowInstance(Path(home), [_DAGS]) as airflow:
        airflow.wait_for_dags("bench_ours", "bench_expand", "bench_by_hand", "bench_workers", "bench_requests")
        for scenario in SCENARIOS:
            if not only or scenario.name in only:
                yield _measure(airflow, scenario, quick=quick, rounds=rounds or (1 if quick else scenario.rounds))


def _measure(airflow: AirflowInstance, scenario: Scenario, *, quick: bool, rounds: int) -> Result:
    contenders = _contenders(scenario.name, quick)
    measured = {name: Measured(name) for name in contenders}
    _run(airflow, "bench_ours", {"count": 3})  # warm: what is measured is no first run
    before = os.getloadavg()[0]
    for turn in range(rounds):
        names = list(contenders)
        for name in names if turn % 2 == 0 else reversed(names):
            if not enough(measured[name]):
                run = _run_requests if scenario.name == "airflow_requests" else _run
                measured[name].samples.append(run(airflow, *contenders[name]))
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


def _run_requests(airflow: AirflowInstance, dag_id: str, conf: dict[str, Any]) -> dict[str, float]:
    """Run a DAG of requests with a server of its own; gives what they took, and how many were refused."""
    with slow_server() as url:
        with peak_of_all(_SELDOM) as peak:
            sample = _run(airflow, dag_id, {**conf, "url": url})
        return {**sample, "MB": peak.extra / MB, "refused": refused(url)}


def _seconds(result: DagRunResult) -> float:
    """Return the time from the start of the first instance of ``items``, or of the requests, to the end of the last."""
    mapped = any(task.task_id == "request" for task in result.tasks)
    spans = [(task.start, task.end) for task in result.tasks if task.task_id == ("request" if mapped else "items")]
    starts = [start for start, _ in spans if start]
    ends = [end for _, end in spans if end]
    return (max(ends) - min(starts)).total_seconds()
