"""Run the DAGs of every choice under a real Airflow with LocalExecutor, and time them."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.engines import ENGINES, why_not
from tests.benchmarks.reach.model import Point
from tests.harness import AirflowInstance, HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness import DagRunResult

__all__ = ["CHOICES", "STORES", "measure"]

_DAGS = Path(__file__).parents[1] / "dag_files"
#: What runs in one task instance, or in a fixed number of them; then one for each item.
CHOICES = ("loop", "threads", "loky", "multiprocessing", "chunks")
#: Where an XCom rests.
STORES = ("database", "object storage")

#: Number of items, seconds of one, bytes of a result.
_GRID = [(1, 0.0, 10), (1000, 0.0, 10), (100, 0.05, 10), (1000, 0.01, 10), (200, 0.0, 50_000)]
_EXPANDED = [(1, 0.0, 10), (20, 0.0, 10), (50, 0.05, 10), (20, 0.0, 500_000)]
_ENGINES = [(1, 0.0, 10), (1000, 0.0, 10), (1000, 0.01, 10), (200, 0.0, 50_000)]
_SIZES = (1_000, 1_000_000, 10_000_000, 50_000_000)
_QUICK = [(2, 0.001, 10)]


def measure(*, quick: bool = False, rounds: int = 1) -> tuple[list[Point], list[Point], list[str]]:
    """Return the runs of the choices, those that only pass an XCom on, and what was left out and why."""
    reasons = {engine: reason for engine in ENGINES if (reason := "quick" if quick else why_not(engine))}
    engines = [engine for engine in ENGINES if engine not in reasons]
    work: list[tuple[str, tuple[int, float, int]]] = []
    for choice in CHOICES[:3] if quick else CHOICES:
        work += [(choice, each) for each in (_QUICK if quick else _GRID)]
    work += [("expand", each) for each in (_QUICK if quick else _EXPANDED)]
    work += [(engine, each) for engine in engines for each in _ENGINES]
    sizes = (1_000, 100_000) if quick else _SIZES
    with _airflow(engines, {}) as airflow:
        points = [_run(airflow, *each) for turn in range(rounds) for each in (work if turn % 2 == 0 else work[::-1])]
        xcoms = [_run(airflow, "xcom", (1, 0.0, size), STORES[0]) for _ in range(rounds) for size in sizes]
    with tempfile.TemporaryDirectory() as store, _airflow([], _in_object_storage(store)) as airflow:
        xcoms += [_run(airflow, "xcom", (1, 0.0, size), STORES[1]) for _ in range(rounds) for size in sizes]
    return points, xcoms, [reason for reason in reasons.values() if reason != "quick"]


@contextmanager
def _airflow(engines: Sequence[str], more: dict[str, str]) -> Iterator[AirflowInstance]:
    environment = {"REACH_ENGINES": " ".join(engines), **more}
    with tempfile.TemporaryDirectory() as home, AirflowInstance(Path(home), [_DAGS], env=environment) as airflow:
        airflow.wait_for_dags("reach_loop", "reach_xcom", *(f"reach_{engine}" for engine in engines))
        _run(airflow, "loop", (1, 0.0, 10))  # warm: what is measured is no first run
        yield airflow


def _in_object_storage(folder: str) -> dict[str, str]:
    return {
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"file://{folder}",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "100000",
    }


def _run(airflow: AirflowInstance, choice: str, work: tuple[int, float, int], name: str = "") -> Point:
    count, seconds, size = work
    conf: dict[str, Any] = {"count": count, "seconds": seconds, "size": size}
    result = airflow.run_dag(f"reach_{choice}", conf, timeout=600)
    if not result.ok:
        raise HarnessError(f"reach_{choice} with {conf} ended as {result.state}.")
    point = Point(name or choice, count, seconds, size, _seconds(result))
    print(f"  {point.choice}: {count} x {seconds} s, {size} B ({point.took:.1f} s)", file=sys.stderr, flush=True)
    return point


def _seconds(result: DagRunResult) -> float:
    """Return the time from the end of the task that gives the items to that of the last one.

    Where none gives items, it is from the start of the first.
    """
    ends = [task.end for task in result.tasks if task.end]
    starts = [task.end for task in result.tasks if task.task_id == "given" and task.end]
    starts = starts or [task.start for task in result.tasks if task.start]
    return (max(ends) - min(starts)).total_seconds()
