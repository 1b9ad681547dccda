"""What items on a Spark cluster get of Airflow, which they can't ask, and what they say there.

What is the same on every engine is looked at by the same tests as on Dask and Ray.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clusters import spark_cluster
from tests.integration.helpers import result
from tests.integration.test_on_cluster import (
    PASSWORD,
    run_all,
    test_all_that_an_item_says,
    test_flood,
    test_resources,
    test_workers_import_no_airflow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import AirflowInstance, DagRunResult
    from tests.harness.clusters import Cluster

__all__ = ["test_all_that_an_item_says", "test_flood", "test_resources", "test_workers_import_no_airflow"]

pytest.importorskip("joblibspark", reason="Spark is not installed.")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.server,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java."),
]

#: What an item is told that asks Airflow for something.
NO_WAY = "a worker of spark can't: the engine has no channel to the task. Ask in the task's body and pass the value"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Spark cluster that knows nothing of Airflow."""
    with spark_cluster(tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, cluster: Cluster, add_dag: Callable[..., str]) -> DagRunResult:
    """One run of all tasks."""
    return run_all("spark", airflow, cluster, add_dag)


@pytest.mark.parametrize("task_id", ["ask", "local"])
def test_what_items_ask(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> None:
    """The context comes along; whatever has to be asked for is a clear error, never a default."""
    workers = result(airflow, run, task_id)
    context = result(airflow, run, "body")["context"]
    for worker in workers:
        told = {"written": worker["written"], **worker["answers"]}
        assert told["context"] == context
        assert worker["run_id"] == run.run_id
        for asked in ("variable", "connection", "xcom", "written", "by context"):
            assert NO_WAY in str(told[asked]), asked
    assert len({worker["process"] for worker in workers}) == 2
    written = {one["key"] for one in airflow.api.all("variables", field="variables")}
    assert not [key for key in written if key.startswith("spark_written")]


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
