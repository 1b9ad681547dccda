"""The harness itself: it starts a real Airflow, reports truly, and leaves nothing behind."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.harness import AirflowInstance, HarnessError
from tests.harness.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.nightly, pytest.mark.integration, pytest.mark.timeout(900)]


def test_starts_every_service(airflow: AirflowInstance) -> None:
    """Scheduler, DAG processor, database and API server are up."""
    health = airflow.api.health()
    assert {health[name] for name in ("scheduler", "dag_processor", "metadatabase")} == {"healthy"}


def test_secrets_are_readable_by_the_owner_only(airflow: AirflowInstance) -> None:
    """The secrets are in a file of mode 0600, and in no process's environment or arguments."""
    config = airflow.home / "airflow.cfg"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    secret = config.read_text().split("jwt_secret = ")[1].splitlines()[0]
    for process in airflow.leftovers():
        assert secret not in str(process.environ()) + str(process.cmdline())


def test_users_airflow_settings_stay_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user's shell says about Airflow doesn't reach the instance, what a test wants does."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", "postgres://elsewhere")
    environment = child_environment(tmp_path, "marker", {"AIRFLOW__JOBLIB__N_JOBS": "2"})
    found = {name for name in environment if name.startswith("AIRFLOW__") or "CONN" in name.split("_")}
    assert found == {"AIRFLOW__JOBLIB__N_JOBS"}


def test_reports_states_results_and_logs(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> None:
    """A run's task instances, XComs of any type, the given conf and the logs are what the tasks made them."""
    run = airflow.run_dag(add_dag("plain_tasks"), conf={"factor": 3})
    assert [(task.name, task.state) for task in run.tasks] == [
        ("numbers", "success"),
        ("multiply[0]", "success"),
        ("multiply[1]", "success"),
        ("pair", "success"),
        ("fail", "failed"),
    ]
    assert not run.ok
    assert airflow.xcom(run.dag_id, run.run_id, "multiply", 1) == 6
    assert airflow.xcom(run.dag_id, run.run_id, "pair") == {"pair": (1, 2), "products": [3, 6]}
    assert airflow.xcom(run.dag_id, run.run_id, "fail") is None
    assert "no luck" in airflow.log(run.dag_id, run.run_id, "fail")
    assert any(event["event"] == "times 3" for event in airflow.log_events(run.dag_id, run.run_id, "multiply", 0))


def test_reports_import_errors(airflow: AirflowInstance, add_source: Callable[[str, str], Path]) -> None:
    """A DAG file that can't be imported is reported by its name, with the reason."""
    add_source("not_importable.py", "from airflow.sdk import dag\nimport module_that_is_not_there\n")
    assert "module_that_is_not_there" in airflow.wait_for_import_error("not_importable.py")


def test_finds_orphans(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> None:
    """A process that a task has left behind, in a session of its own, is found among the leftovers."""
    run = airflow.run_dag(add_dag("leaves_orphan"))
    pid = airflow.xcom(run.dag_id, run.run_id, "leave_orphan")
    try:
        assert pid in {process.pid for process in airflow.leftovers()}
        assert psutil.Process(pid).ppid() not in {process.pid for process in airflow.leftovers()}
    finally:
        os.kill(pid, 9)


def test_failed_start_is_told_and_leaves_nothing(airflow_database: Path, tmp_path: Path) -> None:
    """When a service can't start, the error has its last words, and the other services are stopped."""
    environment = {"AIRFLOW__CORE__EXECUTOR": "no.such.Executor"}
    instance = AirflowInstance(tmp_path / "home", [tmp_path], env=environment, database=airflow_database)
    with pytest.raises(HarnessError, match=r"no\.such|Executor"), instance:
        pass
    assert not instance.leftovers()
