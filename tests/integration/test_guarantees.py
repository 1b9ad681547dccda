"""What Airflow gives a task, given to each item, under a real executor."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.endings import eventually
from tests.integration.helpers import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


class Run:
    """A finished run of one of the DAGs, with the folder of its notes."""

    def __init__(self, airflow: AirflowInstance, result: DagRunResult, folder: Path) -> None:
        self.airflow = airflow
        self.result = result
        self.folder = folder

    def ended(self, task_id: str, map_index: int = -1) -> tuple[str | None, int]:
        """State and number of tries."""
        task = self.result.task(task_id, map_index)
        return task.state, task.try_number

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self.airflow.xcom(self.result.dag_id, self.result.run_id, task_id, map_index, key=key)

    def log(self, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        return self.airflow.log(self.result.dag_id, self.result.run_id, task_id, map_index, try_number)

    def runs(self, name: str) -> Counter[int]:
        """How often each item has run."""
        return Counter(map(int, (self.folder / name).read_text().split()))


@pytest.fixture(scope="module")
def started(
    airflow: AirflowInstance, add_dag: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, Path]]:
    """Both DAGs, triggered at once: the runs' ids and folders."""
    add_dag("guarantees")
    airflow.wait_for_dags("guarantees_kept")
    found = {}
    for dag_id in ("guarantees", "guarantees_kept"):
        folder = tmp_path_factory.mktemp(dag_id)
        found[dag_id] = airflow.trigger(dag_id, conf={"folder": str(folder)}), folder
    return found


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, started: dict[str, tuple[str, Path]]) -> Run:
    run_id, folder = started["guarantees"]
    return Run(airflow, airflow.wait("guarantees", run_id), folder)


@pytest.fixture(scope="module")
def kept(airflow: AirflowInstance, started: dict[str, tuple[str, Path]]) -> Run:
    run_id, folder = started["guarantees_kept"]
    return Run(airflow, airflow.wait("guarantees_kept", run_id), folder)


def test_item_retries(run: Run) -> None:
    """A failing item is tried again in the same task try, and the XCom is complete."""
    assert run.ended("retried") == ("success", 1)
    assert run.xcom("retried") == list(range(8))
    assert run.runs("retried")[3] == 3
    log = run.log("retried")
    assert "item 3 failed on try 1 of 3 and is tried again" in log
    assert re.search(r"retried: 8 items on 2 workers in \S+ s, \S+ times as fast as one by one", log), "the summary"


def test_tolerated_failures(run: Run) -> None:
    """The task succeeds; failed positions are None, and the XCom ``failures`` has a record of each."""
    assert run.ended("tolerated") == ("success", 1)
    assert run.xcom("tolerated") == [0, 1, None, 3, 4, 5, 6, None, 8, 9]
    assert run.xcom("tolerated", "failures") == [
        {"index": item, "item": str(item), "error_type": "LookupError", "message": f"no {item}", "tries": 2}
        for item in (2, 7)
    ]


def test_too_many_failures(run: Run) -> None:
    """The task fails with the first failures in its log, and the records are there all the same."""
    assert run.ended("beyond") == ("failed", 1)
    records = run.xcom("beyond", "failures")
    assert len(records) >= 2
    assert all(set(record) == {"index", "item", "error_type", "message", "tries"} for record in records)
    assert [record["index"] for record in records] == sorted(record["index"] for record in records)
    assert "TooManyFailuresError" in run.log("beyond")
    assert "Raised by item " in run.log("beyond")


def test_fail_exception(run: Run) -> None:
    """AirflowFailException in an item ends the task, without another try of the item or of the task."""
    assert run.ended("fails_for_good") == ("failed", 1)
    assert "Raised by item 4 (4) on try 1 " in run.log("fails_for_good")


def test_skip_exception(run: Run) -> None:
    """Skipped items have None; where all are skipped the task is."""
    assert run.ended("skips_some") == ("success", 1)
    assert run.xcom("skips_some") == [0, 1, None, None]
    assert run.ended("skips_all") == ("skipped", 1)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Retry policies came with Airflow 3.3.")
def test_retry_policy(run: Run) -> None:
    """Airflow's rules see the item's own exception."""
    assert run.ended("ruled_out") == ("failed", 1)
    assert run.ended("not_ruled_out") == ("failed", 2)


@pytest.mark.parametrize("task_id", ["too_slow", "too_slow_alone"])
def test_execution_timeout(run: Run, task_id: str) -> None:
    """The task's own limit holds beside that of the items, on workers and in the task's process."""
    assert run.ended(task_id) == ("failed", 1)
    assert "AirflowTaskTimeout" in run.log(task_id)
    assert "failed for good: airflow_joblib.exceptions.ItemTimeoutError" in run.log(task_id)


def test_first_failure_ends_the_task(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 1,000 items of a second the third fails, and the task with it: the others are neither run nor waited for."""
    assert run.ended("fails_fast") == ("failed", 1)
    end = run.result.task("fails_fast").end
    assert end is not None
    seconds = end.timestamp() - float((run.folder / "failed").read_text())
    with capsys.disabled():
        print(f"\nthe task has failed {seconds:.2f} s after its third item")
    assert seconds < 30
    assert run.runs("fails_fast").total() < 20, "items run in about the order of the input"


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading", "sequential"])
def test_result_that_is_no_xcom(run: Run, backend: str) -> None:
    """The first result is refused with item, path and type, before the later items have run."""
    task_id = f"no_xcom_{backend}"
    assert run.ended(task_id) == ("failed", 1)
    log = run.log(task_id)
    assert re.search(r"The result of item \d+ can't be in an XCom: result of item \d+ → \['found'\] → \[1\] \(", log)
    assert "guarantees.Opaque) can't be serialized" in log
    assert sum(run.runs(task_id).values()) < 400


def test_below_a_plain_task(run: Run) -> None:
    """The same holds where a plain ``@task`` calls the parallel task."""
    assert run.ended("below_task") == ("success", 1)
    assert run.xcom("below_task") == [0, None, 2, 3]
    assert run.xcom("below_task", "failures")[0]["index"] == 1


def check_resumed(kept: Run, task_id: str, items: range, bad: int, name: str = "", map_index: int = -1) -> None:
    """The second try has run only what the first had not finished, and nothing is kept any more."""
    assert kept.xcom(task_id, map_index=map_index) == [-item for item in items]
    runs = {item: kept.runs(name or task_id)[item] for item in items}
    twice = {item for item, times in runs.items() if times == 2}
    assert set(runs.values()) <= {1, 2}
    assert bad in twice
    assert len(twice) <= 3, "no more than what was in hand or before the workers"
    log = kept.log(task_id, 2, map_index)
    done = re.search(rf"resumes: (\d+) of {len(items)} items done by an earlier try", log)
    assert done, log
    assert int(done[1]) >= len(items) // 4


@pytest.mark.parametrize("task_id", ["killed", "failed"])
def test_retry_resumes(kept: Run, task_id: str) -> None:
    """A try after the task's process was killed, or failed, runs only the rest."""
    assert kept.ended(task_id) == ("success", 2)
    check_resumed(kept, task_id, range(60), 30)


def test_mapped_instances(kept: Run) -> None:
    """Mapped instances have checkpoints of their own: one is killed and resumes, the other one is left alone."""
    assert kept.ended("mapped", 0) == ("success", 1)
    assert kept.ended("mapped", 1) == ("success", 2)
    check_resumed(kept, "mapped", range(100, 140), 110, map_index=1)
    assert all(kept.runs("mapped")[item] == 1 for item in range(40))
    assert kept.xcom("mapped", map_index=0) == [-item for item in range(40)]


def test_nothing_is_kept_of_a_skipped_task(airflow: AirflowInstance, kept: Run) -> None:
    """What was kept of items that were all skipped is removed once the task is, after its own callback."""
    assert kept.ended("all_skipped") == ("skipped", 1)
    root = airflow.home / "joblib_checkpoints" / "guarantees_kept"

    def files() -> list[Path]:
        return [file for file in root.rglob("*") if file.is_file() and "all_skipped" in str(file)]

    eventually(lambda: not files(), lambda: str(files()), timeout=30)
    assert int((kept.folder / "all_skipped").read_text()) > 0


def test_cleared_task_resumes(airflow: AirflowInstance, kept: Run) -> None:
    """A failed task that is cleared runs only the rest; then nothing is kept of the whole run."""
    assert kept.ended("cleared") == ("failed", 1)
    folder = airflow.home / "joblib_checkpoints" / "guarantees_kept"

    def files() -> list[Path]:
        return [file for file in folder.rglob("*") if file.is_file()]

    assert files()
    # What has succeeded has no checkpoint any more, once Airflow has told the task so.
    eventually(lambda: all("cleared" in str(file) for file in files()), lambda: str(files()), timeout=30)
    assert all(file.stat().st_mode & 0o077 == 0 for file in [folder, *folder.rglob("*")])
    run_id = kept.result.run_id
    body = {"dry_run": False, "task_ids": ["cleared"], "dag_run_id": run_id, "only_failed": False}
    airflow.api.post("dags", "guarantees_kept", "clearTaskInstances", body=body)
    until = time.monotonic() + 200
    again = Run(airflow, airflow.wait("guarantees_kept", run_id, timeout=200), kept.folder)
    while again.ended("cleared")[0] != "success" and time.monotonic() < until:
        time.sleep(0.5)
        again = Run(airflow, airflow.wait("guarantees_kept", run_id, timeout=200), kept.folder)
    assert again.ended("cleared") == ("success", 2)
    check_resumed(again, "cleared", range(60), 30)
    eventually(lambda: not files(), lambda: str(files()), timeout=30)
