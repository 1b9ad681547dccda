"""Dates, the context, what items push and store, and the relay while processes that ask are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PROCESSES = ("loky", "multiprocessing")
#: What stays in the task's process.
STAYING = {"ti", "task_instance", "dag", "task", "outlet_events"}


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> DagRunResult:
    """One run that has a logical date."""
    for n in range(4):
        airflow.api.set_variable(f"asked_{n}", f"answer {n}")
    dag_id = add_dag("asks_more")
    return airflow.wait(dag_id, airflow.trigger(dag_id, logical_date="2026-02-03T04:05:06Z"), timeout=500)


@pytest.mark.parametrize("backend", PROCESSES)
def test_same_as_in_the_body(airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """Dates, context and an asset's state store: the same values and errors; the context lacks what stays."""
    body = result(airflow, run, "body")
    names = set(body.pop("names")) - STAYING
    for answers in result(airflow, run, f"ask_{backend}"):
        inherited = STAYING if backend == "multiprocessing" else set()  # a fork has the task's own context
        assert set(answers.pop("names")) == names | inherited | {"try_number", "map_index"}
        assert answers == body


def test_body(airflow: AirflowInstance, run: DagRunResult) -> None:
    """What the body is told is right, so that the test above means something."""
    body = result(airflow, run, "body")
    assert body["parameters"][0] == body["context"][0] == "2026-02-03"
    assert body["parameters"][1] == body["context"][2]
    assert body["no such"] == "KeyError"
    if "shelf" in body:  # since 3.3
        assert body["shelf"] == [3, "the default"]
        assert body["other asset"] == "KeyError"


@pytest.mark.parametrize("backend", PROCESSES)
def test_items_push(airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """An item may push XComs of its own beside the task's, and read them."""
    task_id = f"push_{backend}"
    assert result(airflow, run, task_id) == [{"number": [1]}, {"number": [2]}]
    for n in (1, 2):
        assert airflow.xcom(run.dag_id, run.run_id, task_id, key=f"pushed_{n}") == {"number": [n]}


@pytest.mark.parametrize("backend", PROCESSES)
def test_processes_killed_while_they_ask(airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """Whatever a process was at in its request when it was killed, all others get their own answers to the end."""
    assert result(airflow, run, f"die_{backend}") == [True] * 8
