"""One real Airflow for all integration tests that one process runs."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import AirflowInstance
from tests.harness.demo import DAGS, WORKERS
from tests.harness.instance import migrated_database
from tests.integration.helpers import result
from tests.integration.statsd import StatsD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import DagRunResult

DAG_FILES = Path(__file__).parent / "dag_files"
#: Modules of clusters, which take much memory: all in one process, one after another.
OF_CLUSTERS = {"test_endings_on_clusters", "test_examples_on_clusters", "test_on_cluster", "test_on_spark"}


@pytest.hookimpl(tryfirst=True)  # before what gives the groups to processes
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module in one process, which share its runs."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            name = item.path.stem
            item.add_marker(pytest.mark.xdist_group("clusters" if name in OF_CLUSTERS else name))


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database: made by one process for all, since it takes as long as all the rest of the start."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the one that all processes of this session have
    with (folder / "database.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "database").exists():
            migrated_database(folder / "database.part")
            (folder / "database.part").rename(folder / "database")
    return folder / "database" / "airflow.db"


@pytest.fixture(scope="session")
def added_dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the DAG files that tests add."""
    return tmp_path_factory.mktemp("dags")


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsD]:
    """Where the metrics of Airflow go; without a thread but where a test listens, since that would forbid forks."""
    with closing(StatsD()) as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    airflow_database: Path, added_dags: Path, statsd: StatsD, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowInstance]:
    """A running Airflow that has the example DAGs and whatever `add_dag` adds; must leave no process."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "AIRFLOW__JOBLIB__N_JOBS": WORKERS,
        "AIRFLOW_VAR_OF_ENVIRONMENT": "only there",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "shop.loud=DEBUG shop.silent=CRITICAL",
    }
    metrics = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(statsd.port)}
    config = {"metrics": {**metrics, "statsd_influxdb_enabled": "True"}}
    folders = [DAGS, added_dags]
    with AirflowInstance(home, folders, env=environment, database=airflow_database, config=config) as instance:
        yield instance
    assert not instance.killed
    assert not instance.leftovers()


@pytest.fixture(scope="module")
def add_dag(airflow: AirflowInstance, added_dags: Path) -> Iterator[Callable[..., str]]:
    """Give Airflow a file of ``dag_files``, whose DAG has the file's name, and wait until it was parsed."""
    added: list[Path] = []

    def add(dag_id: str, file: str = "") -> str:
        added.append(Path(shutil.copy(DAG_FILES / f"{file or dag_id}.py", added_dags / f"{dag_id}.py")))
        airflow.wait_for_dags(dag_id)
        return dag_id

    yield add
    for file in added:
        file.unlink()


@pytest.fixture
def add_source(airflow: AirflowInstance, added_dags: Path) -> Iterator[Callable[[str, str], Path]]:
    """Give Airflow a DAG file with the source given, without waiting."""
    added: list[Path] = []

    def add(name: str, source: str) -> Path:
        added.append(added_dags / name)
        added[-1].write_text(source, encoding="utf-8")
        return added[-1]

    yield add
    for file in added:
        file.unlink()


@pytest.fixture
def said(airflow: AirflowInstance, run: DagRunResult) -> Callable[[str], list[dict[str, Any]]]:
    """Give what the items of a task of the module's ``run`` said, and whatever an engine has to add."""

    def of(task_id: str) -> list[dict[str, Any]]:
        result(airflow, run, task_id)
        loggers = ("shop", "task.std", "py.warnings", "distributed", "ray", "py4j", "pyspark")
        events = airflow.log_events(run.dag_id, run.run_id, task_id)
        return [event for event in events if event["logger"].startswith(loggers)]

    return of


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL database to write to; skips where no server answers."""
    psycopg2 = pytest.importorskip("psycopg2")
    url = os.environ.get(
        "TEST_POSTGRES_URL", "postgresql://airflow_joblib:only-for-tests@127.0.0.1:5432/airflow_joblib"
    )
    try:
        psycopg2.connect(url, connect_timeout=3).close()
    except psycopg2.OperationalError as error:
        pytest.skip(f"No PostgreSQL at TEST_POSTGRES_URL or 127.0.0.1:5432: {str(error).splitlines()[0]}")
    return url
