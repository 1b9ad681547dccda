"""Where checkpoints are in Airflow: a task's next try finds them, on this machine and on a remote storage."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.sftp import sftp_server
from tests.integration.endings import eventually
from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, airflow: AirflowInstance) -> Iterator[Path]:
    """The folder behind a remote storage that Airflow has a connection to."""
    root = tmp_path_factory.mktemp("storage")
    with sftp_server(root) as connection:
        airflow.api.set_connection("storage", **connection)
        yield root


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, add_dag: Callable[[str], str], storage: Path) -> DagRunResult:
    """One run of all tasks that keep items, each killed in its first try."""
    return airflow.run_dag(add_dag("keeps_items"))


@pytest.mark.parametrize("task_id", ["local", "remote"])
def test_next_try_finds_what_was_kept(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> None:
    """What a killed task had flushed is there for its next try, as objects of the DAG file's own class."""
    assert run.task(task_id).try_number == 2
    assert result(airflow, run, task_id) == {"found": 10, "values": list(range(0, 100, 10)), "class": True}


@pytest.mark.parametrize("map_index", [0, 1])
def test_mapped_instances_have_each_their_own(airflow: AirflowInstance, run: DagRunResult, map_index: int) -> None:
    """An instance of a mapped task finds its own items and not those of another that runs beside it."""
    values = [10 * item for item in range(5 * map_index, 5 * map_index + 10)]
    assert result(airflow, run, "mapped", map_index) == {"found": 10, "values": values, "class": True}


def test_nothing_stays_after_success(airflow: AirflowInstance, run: DagRunResult, storage: Path) -> None:
    """A cleared checkpoint leaves no file, on the remote storage nor here, and nothing of the other tasks is gone."""
    result(airflow, run, "remote")
    assert not [path for path in storage.rglob("*") if path.is_file()]
    kept = Path(result(airflow, run, "leaves_some"))
    root = airflow.home / "joblib_checkpoints" / "keeps_items"
    assert kept.parent.parent.parent == root
    assert {path.parent for path in root.rglob("*") if path.is_file()} == {kept}
    assert not (kept.parent.parent / "local").exists()


def test_private(airflow: AirflowInstance, run: DagRunResult) -> None:
    """Folders and files are for the owner alone; the run's id is quoted so that it can lead nowhere else."""
    kept = Path(result(airflow, run, "leaves_some"))
    assert kept.name == "single"
    assert ":" in run.run_id
    assert kept.parent.parent.name == run.run_id.replace(":", "=3A").replace("+", "=2B").replace(".", "=2E")
    for path in [*[*kept.parents][:4], *kept.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_connection_stays_secret(airflow: AirflowInstance, run: DagRunResult) -> None:
    """The log of a task that kept items on a remote storage shows no password."""
    result(airflow, run, "remote")
    for number in (1, 2):
        log = airflow.log(run.dag_id, run.run_id, "remote", -1, number)
        assert log
        assert "the password of the storage" not in log


FAILED = {"tolerates": "success", "tolerates_remote": "success", "runs_all": "failed", "calls_three": "success"}
#: What each runs.
ITEMS = {name: [*range(20), *(range(20, 24) if name == "calls_three" else ())] for name in FAILED}


def clear(airflow: AirflowInstance, run: DagRunResult, number: int) -> DagRunResult:
    """Clear every task of a run, as a user does, and wait for their tries of this number."""
    body = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": False}
    airflow.api.post("dags", run.dag_id, "clearTaskInstances", body=body)
    latest = run

    def over() -> bool:
        nonlocal latest
        latest = airflow.wait(run.dag_id, run.run_id, timeout=200)
        return all(task.try_number == number and task.state in ("success", "failed") for task in latest.tasks)

    eventually(over, lambda: str(latest.tasks), timeout=300)
    return latest


@pytest.mark.usefixtures("storage")
def test_tomorrow_what_failed_today(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> None:
    """Clearing a task whose failures were tolerated runs those items alone, and then its XComs are whole.

    First they fail again, which keeps everything as it was; the second time they are mended, and nothing is kept.
    """
    run = airflow.run_dag(add_dag("keeps_failed"))

    def ran(name: str) -> list[int]:
        file = airflow.home / f"{name}.ran"
        found = sorted(map(int, file.read_text().split()))
        file.unlink()
        return found

    assert {task.task_id: task.state for task in run.tasks} == FAILED
    assert {name: ran(name) for name in FAILED} == ITEMS
    assert "To run the 4 items that failed, clear the task" in airflow.log(run.dag_id, run.run_id, "tolerates", -1, 1)
    run = clear(airflow, run, 2)
    assert {task.task_id: task.state for task in run.tasks} == FAILED
    assert {name: ran(name) for name in FAILED} == {name: [4, 9, 14, 19] for name in FAILED}
    for name in ("tolerates", "tolerates_remote"):
        assert airflow.xcom(run.dag_id, run.run_id, name) == [None if n % 5 == 4 else n * 10 for n in range(20)]
        assert len(airflow.xcom(run.dag_id, run.run_id, name, key="failures")) == 4
    (airflow.home / "mended").touch()
    run = clear(airflow, run, 3)
    assert {name: ran(name) for name in FAILED} == {name: [4, 9, 14, 19] for name in FAILED}
    for name in FAILED:
        assert sorted(result(airflow, run, name)) == [n * 10 for n in ITEMS[name]]
    for name in ("tolerates", "tolerates_remote"):
        assert airflow.xcom(run.dag_id, run.run_id, name, key="failures") == []
    assert not [path for path in (airflow.home / "joblib_checkpoints" / "keeps_failed").rglob("*") if path.is_file()]
