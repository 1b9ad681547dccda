"""Failed items in the log that Airflow's REST API gives, which is what its UI shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.fan_out.failures import SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Event = dict[str, Any]


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> DagRunResult:
    add_dag("failures")
    return airflow.wait("failures", airflow.trigger("failures"))


@pytest.fixture(scope="module")
def errors(airflow: AirflowInstance, run: DagRunResult) -> Callable[[str], list[Event]]:
    """Give the events at error level of a task's log, and everything from the first of them on."""

    def of(task_id: str) -> list[Event]:
        path = ("dags", run.dag_id, "dagRuns", run.run_id, "taskInstances", task_id, "logs", "1")
        content = airflow.api.get(*path, full_content="true")["content"]
        first = next(place for place, event in enumerate(content) if event.get("level") == "error")
        return list(content[first:])

    return of


def frames(event: Event, place: int = 0) -> list[str]:
    """The functions of an event's traceback, the innermost last."""
    return [frame["name"] for frame in event["error_detail"][place]["frames"]]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading", "sequential"])
def test_first_failure(backend: str, run: DagRunResult, errors: Callable[[str], list[Event]]) -> None:
    """One error record has the item, its index and the user's own frames, and Airflow's own record has them too."""
    assert run.task(f"log_in_{backend}").state == "failed"
    ours, *later = errors(f"log_in_{backend}")
    assert ours["logger"] == "airflow_joblib"
    assert ours["item"] == 2
    assert ours["event"].startswith("log_in: item 2 ({'n': 2, 'password': '***'}) failed for good: LookupError: ")
    assert "Raised by item 2 ({'n': 2, 'password': '***'}) on try 1 in worker " in ours["event"]
    assert frames(ours) == ["log_in", "look_up"]
    assert all(frame["filename"].endswith("failures.py") for frame in ours["error_detail"][0]["frames"])
    assert ours["error_detail"][1]["exc_type"] == "KeyError"
    assert frames(ours, 1) == ["look_up"]
    (theirs,) = [event for event in later if event.get("level") == "error"]
    assert theirs["event"] == "Task failed with exception"
    assert theirs["error_detail"][0]["exc_type"] == "LookupError"
    assert frames(theirs)[-2:] == ["log_in", "look_up"]


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading", "sequential"])
def test_secrets_of_items(
    backend: str, run: DagRunResult, errors: Callable[[str], list[Event]], airflow: AirflowInstance
) -> None:
    """What an item has under a secret's name is nowhere in the log, not in part either."""
    assert errors(f"log_in_{backend}")
    assert "swordfish" not in airflow.log(run.dag_id, run.run_id, f"log_in_{backend}")


def test_secrets_in_xcom(run: DagRunResult, airflow: AirflowInstance) -> None:
    """Nor in the XCom ``failures`` or in the record, where the item and its message are."""
    (failure,) = airflow.xcom(run.dag_id, run.run_id, "tolerant", key="failures")
    record = airflow.xcom(run.dag_id, run.run_id, "tolerant", key="fan_out")
    assert failure["item"] == "{'n': 2, 'password': '***'}"
    assert failure["message"].startswith("no such login: {'n': 2, 'password': '***")
    assert "swordfish" not in f"{failure} {record}"


def test_tolerated(run: DagRunResult, errors: Callable[[str], list[Event]], airflow: AirflowInstance) -> None:
    """The first failures have a record each; then one line names the XCom, and nothing is at error level any more."""
    assert run.task("many").state == "success"
    events = errors("many")
    levels = [event["level"] for event in events]
    assert levels[:SHOWN] == ["error"] * SHOWN
    assert "error" not in levels[SHOWN:]
    for event in events[:SHOWN]:
        assert event["event"].startswith(
            f"many: item {event['item']} ({event['item']}) failed for good: ValueError: no "
        )
        assert frames(event) == ["many"]
    (more,) = [event for event in events if "the XCom 'failures' has a record of every one" in event["event"]]
    assert more["level"] == "warning"
    records = airflow.xcom(run.dag_id, run.run_id, "many", key="failures")
    assert [record["index"] for record in records] == list(range(2, 20))
    assert all(len(record["message"]) <= 2000 for record in records)


def test_too_many(run: DagRunResult, errors: Callable[[str], list[Event]]) -> None:
    """A run that ends for too many failures has a record of each, and the reason last."""
    assert run.task("beyond").state == "failed"
    *ours, theirs = [event for event in errors("beyond") if event["level"] == "error"]
    assert len(ours) >= 4
    assert all(frames(event) == ["beyond"] for event in ours)
    assert theirs["error_detail"][0]["exc_type"] == "TooManyFailuresError"


def test_result_of_a_class_of_the_dag_file(run: DagRunResult, errors: Callable[[str], list[Event]]) -> None:
    """An object that the task downstream could not load is refused at once, with the way out."""
    assert run.task("orders").state == "failed"
    message = errors("orders")[0]["event"]
    assert "can't be in an XCom: result of item " in message
    assert ".Order) can't be loaded by a task downstream: its class is in the DAG file" in message
    assert "Return dataclasses.asdict() of it instead." in message


def test_result_that_is_no_number(
    run: DagRunResult, errors: Callable[[str], list[Event]], airflow: AirflowInstance
) -> None:
    """With max_failures a result that fits no XCom is that item's failure, and the others are the task's XCom."""
    assert run.task("numbers").state == "success"
    assert airflow.xcom(run.dag_id, run.run_id, "numbers") == [0.0, 1.0, 2.0, None, 4.0]
    (event,) = [event for event in errors("numbers") if event["level"] == "error"]
    assert event["item"] == 3
    assert "The result of item 3 can't be in an XCom: result of item 3 (float) is nan" in event["event"]
