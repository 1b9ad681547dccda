"""Asynchronous functions under a real Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


CONNECTION = {"connection_id": "asynchronous", "conn_type": "http", "host": "shop.example"}
#: What Airflow tells each item.
TOLD = ["told", True, "shop.example"]


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> DagRunResult:
    """One run of the DAG whose functions are asynchronous."""
    airflow.api.set_variable("asynchronous", "told")
    airflow.api.set_connection(**CONNECTION)
    return airflow.run_dag(add_dag("asynchronous"))


@pytest.mark.parametrize("task_id", ["ask", "ask_loky", "ask_threading", "ask_sequential"])
def test_results_and_log(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> None:
    """Items ask Airflow without holding up others, and what each logs has its index, whichever ran between."""
    assert result(airflow, run, task_id) == [[3 * number, *TOLD] for number in range(20)]
    all_events = airflow.log_events(run.dag_id, run.run_id, task_id)
    events = [event for event in all_events if event["logger"] == "shop.orders"]
    assert len(events) == 40
    for event in events:
        assert event["event"].endswith(f" {event['item']}")


def test_other_forms(airflow: AirflowInstance, run: DagRunResult) -> None:
    """A mapped task, and a plain ``@task`` above the fan-out, whose result Airflow awaits."""
    assert result(airflow, run, "stacked") == [2, 4, 6]
    assert airflow.xcom(run.dag_id, run.run_id, "mapped", 0) == [[2, *TOLD], [4, *TOLD]]
    assert airflow.xcom(run.dag_id, run.run_id, "mapped", 1) == [[6, *TOLD]]
