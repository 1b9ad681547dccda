"""What items on a cluster get of Airflow, and what they say there, as it stands in the task's log."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cloudpickle
import psutil
import pytest

from airflow_joblib.clusters.pool import connected
from tests.engines.conftest import NEEDS
from tests.harness.clusters import ENGINES
from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import AirflowInstance, DagRunResult
    from tests.harness.clusters import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(600)]

PASSWORD = "passwordOfTheClusterAlone"


@pytest.fixture(scope="module", params=["dask", "ray"])
def engine(request: pytest.FixtureRequest) -> str:
    """An engine whose workers have a channel to the task."""
    name: str = request.param
    pytest.importorskip(NEEDS[name], reason=f"The engine {name} is not installed.")
    return name


@pytest.fixture(scope="module")
def cluster(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that knows nothing of Airflow."""
    folder = tmp_path_factory.mktemp(engine)
    with ENGINES[engine](folder, AIRFLOW_HOME=str(folder / "airflow")) as started:
        yield started


@pytest.fixture(scope="module")
def run(engine: str, airflow: AirflowInstance, cluster: Cluster, add_dag: Callable[..., str]) -> DagRunResult:
    """One run of all tasks."""
    return run_all(engine, airflow, cluster, add_dag)


def run_all(engine: str, airflow: AirflowInstance, cluster: Cluster, add_dag: Callable[..., str]) -> DagRunResult:
    """Run all tasks on a cluster that a connection names."""
    for key, value in {f"{engine}_greeting": "hello", f"{engine}_password": PASSWORD}.items():
        airflow.api.set_variable(key, value)
    options = dict(cluster.options)
    address = urlsplit(options.pop("address"))
    there = {"connection_id": f"{engine}_there", "conn_type": engine, "host": address.hostname, "port": address.port}
    there["password"] = options.pop("token", None) or options.pop("secret", None)
    airflow.api.set_connection(**there, extra=json.dumps(options))
    secret = {"connection_id": f"{engine}_secret", "conn_type": "http", "password": PASSWORD}
    airflow.api.set_connection(**secret)
    return airflow.run_dag(add_dag(f"on_{engine}", "on_cluster"), timeout=250)


def test_same_as_in_the_body(engine: str, airflow: AirflowInstance, run: DagRunResult) -> None:
    """Variables, connections, XComs and context: the same values, the same errors."""
    body, workers = result(airflow, run, "body"), result(airflow, run, "ask")
    assert (body["variable"], body["by context"], body["connection"]) == ("hello", "hello", PASSWORD)
    assert (body["xcom"], body["of the task's environment"]) == ([4, 5, 6], "only there")
    for worker in [*workers, *result(airflow, run, "local")]:
        assert (worker["answers"], worker["written"]) == (body, None)
    for worker in workers:
        assert "belongs to the process of the task" in worker["stays"]
    assert len({worker["process"] for worker in workers}) == 2
    written = airflow.api.all("variables", field="variables")
    assert {f"{engine}_written_0": "0", f"{engine}_written_3": "30"}.items() <= {
        one["key"]: one["value"] for one in written
    }.items()


def test_too_large_a_request(engine: str, airflow: AirflowInstance, run: DagRunResult) -> None:
    """It is refused in the item, before it is sent, in words that have the bound; the item's next request works."""
    for task in ("ask", "local"):
        first = result(airflow, run, task)[0]
        assert re.match(
            r"ValueError: A request of 67,\d{3},\d{3} bytes is too large: 67,108,864 is", first["too large"]
        )
        assert first["answers"]["variable"] == "hello"
    assert f"{engine}_large" not in {one["key"] for one in airflow.api.all("variables", field="variables")}


def test_all_that_an_item_says(run: DagRunResult, said: Callable[[str], list[dict[str, Any]]]) -> None:
    """Once, in the order in which the item said it, with level, logger and the item's index; and nothing else."""
    events = said("speak")
    for item in range(6):
        assert [(event["level"], event["logger"], event["event"]) for event in events if event.get("item") == item] == [
            ("info", "shop.orders", f"first of {item}"),
            ("info", "task.stdout", f"printed {item}"),
            ("error", "task.stderr", f"complained {item}"),
            ("error", "shop.orders", "100% wrong"),
            ("warning", "py.warnings", f"beware {item}"),
            ("error", "shop.orders", "caught"),
        ]
    assert len(events) == 6 * 6, [event for event in events if "item" not in event]
    assert (events[0]["filename"], events[0]["shop"]) == (f"{run.dag_id}.py", "north")


def test_workers_import_no_airflow(airflow: AirflowInstance, run: DagRunResult) -> None:
    """Items that ask nothing of Airflow, and log in every way, have none of it loaded."""
    assert result(airflow, run, "speak") == [False] * 6


def test_structlog_and_secrets(airflow: AirflowInstance, run: DagRunResult, said: Callable[[str], Any]) -> None:
    """Events keep name, level and fields; what a worker sees first, or reads, is masked."""
    events = said("speak_structlog")
    for item, number in enumerate((1, 2)):
        own = [event for event in events if event.get("item") == item]
        assert [(event["level"], event["logger"], event["event"]) for event in own] == [
            ("info", "shop.structured", "bound"),
            ("debug", "shop.loud.inner", "loud"),
            ("info", "shop.orders", "found ***"),
            ("info", "task.stdout", "read ***"),
        ]
        assert own[0]["number"] == number
    log = airflow.log(run.dag_id, run.run_id, "speak_structlog")
    assert "on-a-cluster" not in log
    assert PASSWORD not in log


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


def search(backwards: str) -> list[str]:
    """Return what of a process holds a text, which is given backwards so that this doesn't."""
    import gc

    gc.collect()
    found = []
    for kept in gc.get_objects():
        if type(kept) in (dict, list, tuple, set):
            values = kept.values() if type(kept) is dict else kept
            texts = [str(value) for value in list(values) if type(value) in (str, bytes)]
            found += [f"{type(kept).__name__} of {len(kept)}" for text in texts if backwards in text[::-1]]
    return found


def left() -> dict[str, bool]:
    """Return what a worker has that runs have put there."""
    import logging
    import sys
    import warnings

    runner = sys.modules["airflow.sdk.execution_time.task_runner"]
    return {
        "supervisor": hasattr(runner, "SUPERVISOR_COMMS"),
        "levels": logging.Logger.isEnabledFor.__module__ != "logging",
        "handlers": logging.Logger.callHandlers.__module__ != "logging",
        "warnings": "airflow_joblib" in warnings.showwarning.__code__.co_filename,
        "streams": "airflow_joblib" in type(sys.stdout).__module__ + type(sys.stderr).__module__,
        "finders": any("airflow_joblib" in type(finder).__module__ for finder in sys.meta_path),
    }


def test_nothing_stays(engine: str, airflow: AirflowInstance, run: DagRunResult, cluster: Cluster) -> None:
    """After the runs their workers are as before, or gone, and no secret is in the memory of one, or in a log."""
    pids = {worker["process"] for worker in result(airflow, run, "ask")}
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with connected(engine, cluster.options, 2) as connection:
        if engine == "dask":
            check_workers_of_dask(vars(connection)["_client"])
        else:
            check_cluster_of_ray(pids)
    for folder in cluster.folders:
        for file in folder.rglob("*"):
            if file.is_file():
                assert PASSWORD not in file.read_text(errors="replace"), file


def check_workers_of_dask(client: Any) -> None:
    """Look into the workers, which go on, and the scheduler."""
    backwards = PASSWORD[::-1]
    find, look = (lambda: search(backwards)), (lambda: left())  # noqa: PLW0108 - else it would go by name
    assert set(map(str, client.run(find).values())) == {"[]"}
    assert client.run_on_scheduler(find) == []
    assert [name for states in client.run(look).values() for name, stays in states.items() if stays] == []


def check_cluster_of_ray(pids: set[int]) -> None:
    """See that the workers' processes are gone, and that in which requests waited."""
    import ray

    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not ray.util.list_named_actors(all_namespaces=True)
