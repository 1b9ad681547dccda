"""The record of a run in a real task: what the REST API gives while the run goes on, and ever after."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.fan_out.record.fitting import BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Record = dict[str, Any]


@pytest.fixture(scope="module")
def live(airflow: AirflowInstance, add_dag: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of a run as it goes on, before and after the DAG run is over, with that one."""
    add_dag("record")
    gate: Path = tmp_path_factory.mktemp("gate") / "open"
    run_id = airflow.trigger("record", {"gate": str(gate)})
    seen: list[Record] = []
    deadline = time.monotonic() + 120
    while len(seen) < 3 and time.monotonic() < deadline:
        found = airflow.xcom("record", run_id, "goes_on", key="fan_out")
        if found is not None and (not seen or found["runs"][0]["updated"] != seen[-1]["updated"]):
            seen += found["runs"]
        time.sleep(0.1)
    gate.touch()
    return {"seen": seen, "run": airflow.wait("record", run_id)}


@pytest.fixture(scope="module")
def runs(airflow: AirflowInstance, live: Record) -> Callable[[str], list[Record]]:
    """Give the runs that a task's record has when the task is over."""
    run: DagRunResult = live["run"]

    def of(task_id: str) -> list[Record]:
        found = airflow.xcom("record", run.run_id, task_id, key="fan_out")
        assert found["version"] == 1
        assert len(json.dumps(found)) <= BYTES
        return list(found["runs"])

    return of


def test_while_it_runs(live: Record) -> None:
    """The REST API gives the record of a run that goes on, anew every two seconds."""
    first, second, third = live["seen"][:3]
    assert {record["state"] for record in live["seen"]} == {"running"}
    assert first["ended"] is None
    assert first["items"]["total"] == 100
    assert 0 < first["items"]["done"] < 100
    assert first["began"] == third["began"]
    assert seconds(first["began"], first["updated"]) >= 1.99
    assert seconds(first["updated"], second["updated"]) >= 1.99
    assert seconds(second["updated"], third["updated"]) >= 1.99


def seconds(earlier: str, later: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_when_it_is_over(runs: Callable[[str], list[Record]], live: Record) -> None:
    """The last record has every item, the failures by their labels, and no secret."""
    assert live["run"].task("goes_on").state == "success"
    (record,) = runs("goes_on")
    assert (record["state"], record["function"], record["backend"], record["workers"]) == (
        "success",
        "goes_on",
        "multiprocessing",
        2,
    )
    assert record["items"] == {"total": 100, "done": 98, "failed": 2, "skipped": 0, "earlier": 0, "retried": 0}
    assert sum(entry[4] for entry in record["timeline"]) == sum(record["durations"]["counts"]) == 100
    assert {entry[0] for entry in record["timeline"]} == {0, 1}
    assert [failure["index"] for failure in record["failures"]] == [3, 5]
    assert record["failures"][0]["item"] == "order 3 ***"
    assert record["slowest"][0]["label"].startswith("order ")
    assert record["seconds_left"] is None
    assert "hunter2" not in json.dumps(record)


def test_run_that_failed(runs: Callable[[str], list[Record]], live: Record) -> None:
    """A run that fails has its record too, with the item that ended it."""
    assert live["run"].task("fails").state == "failed"
    (record,) = runs("fails")
    assert record["state"] == "failed"
    assert [(failure["index"], failure["message"]) for failure in record["failures"]] == [(7, "no 7")]


def test_many_items(runs: Callable[[str], list[Record]]) -> None:
    """A hundred thousand items have a record as small as that of any run."""
    (record,) = runs("many")
    assert record["items"]["done"] == sum(entry[4] for entry in record["timeline"]) == 100_000


def test_no_items(runs: Callable[[str], list[Record]], airflow: AirflowInstance, live: Record) -> None:
    """A run without items has a record; a task without a run has none."""
    assert [record["items"]["total"] for record in runs("none")] == [0]
    assert airflow.xcom("record", live["run"].run_id, "no_fan_out", key="fan_out") is None


def test_several_runs(runs: Callable[[str], list[Record]], live: Record) -> None:
    """Of many short runs the last ten are there when the task is over."""
    assert live["run"].task("several").state == "success"
    assert [record["items"]["total"] for record in runs("several")] == list(range(3, 13))


def test_retry_starts_anew(runs: Callable[[str], list[Record]], live: Record) -> None:
    """The record of a retry has none of the runs of the try before."""
    task = live["run"].task("again")
    assert (task.state, task.try_number) == ("success", 2)
    assert len(runs("again")) == 1
