"""What Airflow gives in a worker: what it gives in the task's body, or an error that says why not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PASSWORD = "a password that nobody else has"


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> DagRunResult:
    """One run of all tasks that ask."""
    for key, value in {
        "greeting": "hello",
        "settings": json.dumps({"depth": [1, 2]}),
        "old_1": "1",
        "old_2": "2",
    }.items():
        airflow.api.post("variables", body={"key": key, "value": value})
    numbers = {"connection_id": "numbers", "conn_type": "sqlite", "host": str(airflow.home / "numbers.db")}
    secret = {"connection_id": "secret", "conn_type": "http", "password": PASSWORD}
    for connection in (numbers, secret, {"connection_id": "files", "conn_type": "fs"}):
        airflow.api.post("connections", body=connection)
    return airflow.run_dag(add_dag("asks_airflow"), timeout=240)


def result(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> Any:
    """What a task returned; its log as the failure message when it didn't succeed."""
    task = run.task(task_id)
    assert task.state == "success", airflow.log(run.dag_id, run.run_id, task_id, -1, task.try_number)
    return airflow.xcom(run.dag_id, run.run_id, task_id)


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
def test_a_worker_is_told_what_the_body_is_told(airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """Variables, connections, hooks, paths, XComs, context and state store: the same values and the same errors."""
    body, workers = result(airflow, run, "body"), result(airflow, run, backend)
    for worker in workers:
        assert worker["answers"] == body["answers"]
    assert (body["answers"]["variable"], body["answers"]["xcom"]) == ("hello", [4, 5, 6])
    assert len({worker["process"] for worker in workers}) == (1 if backend == "threading" else 2)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_what_stays_says_why(airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """What belongs to the task's process is an error with a way out, in the context of a worker."""
    ti, dag, events, missing = result(airflow, run, f"stays_{backend}")
    for said in (ti, dag, events):
        assert said.startswith("ParallelTaskError: context[")
        assert "belongs to the process of the task" in said
    assert missing.startswith("KeyError")
