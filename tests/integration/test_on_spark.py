"""What items on a Spark cluster get of Airflow, and what they say there, as it stands in the task's log."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.harness.clusters import spark_cluster
from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import AirflowInstance, DagRunResult
    from tests.harness.clusters import Cluster

pytest.importorskip("joblibspark", reason="Spark is not installed.")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.server,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java."),
]

PASSWORD = "passwordOfTheClusterAlone"
#: What an item is told that asks Airflow for something.
NO_WAY = "a worker of spark can't: the engine has no channel to the task. Ask in the task's body and pass the value"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Spark cluster that knows nothing of Airflow."""
    with spark_cluster(tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, cluster: Cluster, add_dag: Callable[[str], str]) -> DagRunResult:
    """One run of all tasks."""
    airflow.api.post("variables", body={"key": "spark_greeting", "value": "hello"})
    options = dict(cluster.options)
    address, secret = urlsplit(options.pop("address")), options.pop("secret")
    there = {"connection_id": "spark_master", "conn_type": "spark", "host": address.hostname, "port": address.port}
    airflow.api.post("connections", body={**there, "password": secret, "extra": json.dumps(options)})
    airflow.api.post("connections", body={"connection_id": "spark_secret", "conn_type": "http", "password": PASSWORD})
    return airflow.run_dag(add_dag("on_spark"), timeout=500)


@pytest.mark.parametrize("task_id", ["ask", "local"])
def test_what_items_ask(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> None:
    """The context comes along; whatever has to be asked for is a clear error, never a default."""
    workers = result(airflow, run, task_id)
    context = result(airflow, run, "body")
    for worker in workers:
        assert worker["context"] == context
        assert worker["run_id"] == run.run_id
        for asked in ("variable", "connection", "xcom", "written", "by context"):
            assert NO_WAY in worker[asked], asked
    assert len({worker["process"] for worker in workers}) == 2
    assert "spark_written" not in {one["key"] for one in airflow.api.all("variables", field="variables")}


def test_all_that_an_item_says(airflow: AirflowInstance, run: DagRunResult, said: Callable[[str], Any]) -> None:
    """Once, in the order in which the item said it, with level, logger and the item's index; Spark adds nothing."""
    events = said("speak")
    for item in range(6):
        assert [(event["level"], event["logger"], event["event"]) for event in events if event.get("item") == item] == [
            ("info", "shop.orders", f"first of {item}"),
            ("info", "task.stdout", f"printed {item}"),
            ("error", "task.stderr", f"complained {item}"),
            ("error", "shop.orders", "100% wrong"),
            ("warning", "py.warnings", f"beware {item}"),
        ]
    assert len(events) == 6 * 5, [event for event in events if "item" not in event]
    assert (events[0]["filename"], events[0]["shop"]) == ("on_spark.py", "north")
    assert result(airflow, run, "speak") == [False] * 6


def test_secrets(airflow: AirflowInstance, run: DagRunResult, cluster: Cluster, said: Callable[[str], Any]) -> None:
    """What a worker sees first, or is given, is masked; nothing of it stays on the cluster, nor a process."""
    for item in range(2):
        own = [event["event"] for event in said("speak_secret") if event.get("item") == item]
        assert own == ["found ***", "read ***"]
    log = airflow.log(run.dag_id, run.run_id, "speak_secret")
    assert "on-a-cluster" not in log
    assert PASSWORD not in log
    assert cluster.options["secret"] not in log
    for file in cluster.folder.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file
    assert not [process for process in cluster.processes() if "CoarseGrained" in " ".join(process.cmdline())]


def test_flood(said: Callable[[str], list[dict[str, Any]]]) -> None:
    """An item that says more than is kept at a time loses nothing, and all comes in its order."""
    events = said("flood")
    for item, number in enumerate((1, 2)):
        own = [event["event"][100:] for event in events if event.get("item") == item]
        assert own == [f" {line} of {number}" for line in range(20_000)]


def test_resources(airflow: AirflowInstance, run: DagRunResult, said: Callable[[str], list[dict[str, Any]]]) -> None:
    """What a resource says when the run is over is in the log as well."""
    processes = {worker["process"] for worker in result(airflow, run, "ask")}
    assert {event["event"] for event in said("ask") if event["event"].startswith("left")} == {
        f"left in {process}" for process in processes
    }
