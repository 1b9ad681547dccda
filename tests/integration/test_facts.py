"""What plain joblib does in a task, and what this library makes of it, side by side under the LocalExecutor.

Each test shows plain joblib failing in its way first, so that it would tell if there were nothing left to mend. What
plain joblib leaves behind is ended at the end, by process id. That ours does right is tested elsewhere as well, with
every change.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.harness import AirflowInstance
from tests.harness.processes import kill_all
from tests.harness.results import TaskResult
from tests.integration.endings import LIMIT, Slot, eventually, runs, seconds_to_end

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.nightly, pytest.mark.integration, pytest.mark.timeout(900)]

DAG_FILE = Path(__file__).parent / "dag_files" / "plain_joblib.py"
SETTINGS = (
    ("variables", {"key": "greeting", "value": "hello"}),
    ("connections", {"connection_id": "plain_secret", "conn_type": "http", "host": "shop.example"}),
)


Tell = Callable[[str, str, str], None]


class Facts:
    """One run of the same work by hand and by this library, all tasks at once."""

    def __init__(self, airflow: AirflowInstance, folder: Path, dag_id: str = "plain_joblib") -> None:
        self.airflow = airflow
        self.folder = folder
        self.dag_id = dag_id
        self.run_id = airflow.trigger(dag_id, conf={"folder": str(folder)})

    def processes(self, name: str) -> tuple[psutil.Process, list[psutil.Process]]:
        """The task's process and its workers, once two of *name*'s items have begun."""
        eventually(lambda: len([*self.folder.glob(f"{name}-?")]) >= 2, lambda: self.log(name))
        found = {tuple(map(int, trace.read_text().split())) for trace in self.folder.glob(f"{name}-?")}
        assert len({task for _, task in found}) == 1
        return psutil.Process(next(iter(found))[1]), [psutil.Process(worker) for worker, _ in sorted(found)]

    def go(self, name: str) -> None:
        """Let *name*'s items go on."""
        (self.folder / f"{name}.go").touch()

    def ended(self, name: str) -> int:
        """How many of *name*'s items have come to their end."""
        return len([*self.folder.glob(f"{name}-?-ended")])

    def task(self, task_id: str, timeout: float = 240) -> TaskResult:
        """The task instance, once it is over, or as it is after *timeout* seconds."""
        until = time.monotonic() + timeout
        while (found := self._task(task_id)).state not in {"success", "failed"} and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _task(self, task_id: str) -> TaskResult:
        path = ("dags", self.dag_id, "dagRuns", self.run_id, "taskInstances", task_id)
        return TaskResult.from_api(self.airflow.api.get(*path))

    def result(self, task_id: str) -> Any:
        """What the task returned."""
        assert self.task(task_id).state == "success", self.log(task_id)
        return self.airflow.xcom(self.dag_id, self.run_id, task_id)

    def log(self, task_id: str) -> str:
        """The task's log."""
        return self.airflow.log(self.dag_id, self.run_id, task_id)

    def events(self, task_id: str, text: str) -> list[tuple[Any, ...]]:
        """Level, logger and item of the log's lines that have *text*."""
        found = self.airflow.log_events(self.dag_id, self.run_id, task_id)
        return [(event["level"], event["logger"], event.get("item")) for event in found if text in str(event["event"])]


@pytest.fixture(scope="module")
def local(airflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow of its own: what plain joblib does with its processes must not meet other tests."""
    home, dags = tmp_path_factory.mktemp("facts"), tmp_path_factory.mktemp("facts_dags")
    shutil.copy(DAG_FILE, dags)
    config = {"core": {"parallelism": "16"}}
    with AirflowInstance(home, [dags], database=airflow_database, config=config) as instance:
        instance.wait_for_dags("plain_joblib", "plain_joblib_started")
        for path, body in SETTINGS:
            instance.api.post(path, body=body)
        yield instance
        end_orphans(instance)


def slot_of(task: psutil.Process) -> Slot:
    """The slot that a task has."""
    supervisor = task.parent()
    assert supervisor is not None
    return Slot(supervisor)


def orphans(airflow: AirflowInstance) -> list[psutil.Process]:
    """What the instance's processes have left behind."""
    known = {process.pid: process for process in airflow.leftovers()}
    return [process for process in known.values() if process.ppid() not in {os.getpid(), *known}]


def end_orphans(airflow: AirflowInstance) -> None:
    """End them, joblib's trackers last: those remove the folders in shared memory once all others have gone."""
    kill_all([process for process in orphans(airflow) if not any("tracker" in word for word in process.cmdline())])
    until = time.monotonic() + LIMIT
    while orphans(airflow) and time.monotonic() < until:
        time.sleep(0.1)
    kill_all(orphans(airflow))


@pytest.fixture(scope="module")
def facts(local: AirflowInstance, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """The run that all facts are seen in."""
    return Facts(local, tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module")
def started(local: AirflowInstance, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """The run of workers that multiprocessing starts anew."""
    return Facts(local, tmp_path_factory.mktemp("started"), "plain_joblib_started")


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a line of the table of facts."""

    def row(fact: str, plain: str, ours: str) -> None:
        with capsys.disabled():
            print(f"\n| {fact} | {plain} | {ours} |")

    return row


def test_2_slot_and_workers_after_success(facts: Facts, tell: Tell) -> None:
    """By hand, idle workers keep the executor's slot and live on without a parent; ours are gone with the task."""
    seconds, alive = {}, {}
    for kind, limit in (("plain", 4.0), ("ours", LIMIT)):
        task, workers = facts.processes(f"slot_{kind}")
        held = slot_of(task)
        facts.go(f"slot_{kind}")
        assert facts.task(f"slot_{kind}").state == "success", facts.log(f"slot_{kind}")
        seconds[kind] = held.seconds(limit)
        alive[kind] = sum(map(runs, workers))
    plain = f"{seconds['plain']:.0f} s after success: slot held, {alive['plain']} workers alive"
    tell("2", plain, f"slot free in {seconds['ours']:.2f} s, {alive['ours']} alive")
    assert seconds["plain"] >= 4
    assert seconds["ours"] < LIMIT
    assert alive == {"plain": 2, "ours": 0}


def test_3_sigkill_of_the_task(facts: Facts, tell: Tell) -> None:
    """By hand, workers finish what is queued to them after the task was killed; ours end before any side effect."""
    task, workers = facts.processes("killed_plain")
    task.kill()
    facts.go("killed_plain")
    eventually(lambda: facts.ended("killed_plain") >= 4)
    alive, ended = sum(map(runs, workers)), facts.ended("killed_plain")
    task, workers = facts.processes("killed_ours")
    task.kill()
    seconds = seconds_to_end(workers)
    facts.go("killed_ours")
    time.sleep(1)
    ours = facts.ended("killed_ours")
    tell("3", f"{ended} of 6 items went on, {alive} workers alive", f"{ours} went on, workers gone in {seconds:.2f} s")
    assert ended >= 4
    assert alive == 2
    assert ours == 0
    assert seconds < LIMIT


def test_4_sigterm(facts: Facts, tell: Tell) -> None:
    """By hand, SIGTERM stops nothing and the task ends as a success; ours ends with its workers, and is none."""
    task, _ = facts.processes("terminated_plain")
    task.terminate()
    facts.go("terminated_plain")
    plain, ended = facts.task("terminated_plain").state, facts.ended("terminated_plain")
    task, workers = facts.processes("terminated_ours")
    task.terminate()
    seconds = seconds_to_end([task, *workers])
    facts.go("terminated_ours")
    time.sleep(1)
    ours, went_on = facts.task("terminated_ours").state, facts.ended("terminated_ours")
    tell("4", f"{plain}, {ended} of 6 items went on", f"{ours}, {went_on} went on, all gone in {seconds:.2f} s")
    assert (plain, ended) == ("success", 6)
    assert (ours, went_on) == ("failed", 0)
    assert seconds < LIMIT


def test_5_variable_in_a_fork(facts: Facts, tell: Tell) -> None:
    """By hand, a forked worker is told the default of a Variable that is there; ours its value."""
    eventually(lambda: len([*facts.folder.glob("forked_plain-?")]) == 6, lambda: facts.log("forked_plain"))
    said = [trace.read_text().split(maxsplit=2) for trace in facts.folder.glob("forked_plain-?")]
    plain, ours = {answer for _, _, answer in said}, set(facts.result("forked_ours"))
    # By hand it may hang then: its workers have inherited what a task does on SIGTERM, and the pool waits for them.
    pids = {int(pid) for who in said for pid in who[:2]}
    kill_all([process for process in facts.airflow.leftovers() if process.pid in pids])
    tell("5", f"Variable.get gave {plain}", f"gave {ours}")
    assert plain == {"the default"}
    assert ours == {"hello"}


@pytest.mark.parametrize(("name", "answer"), [("variable", "hello"), ("connection", "shop.example")])
def test_6_airflow_in_a_loky_worker(facts: Facts, tell: Tell, name: str, answer: str) -> None:
    """By hand, a loky worker can't even import Airflow; ours gets the answer."""
    plain, ours = facts.task(f"{name}_plain").state, set(facts.result(f"{name}_ours"))
    why = "Could not parse SQLAlchemy URL"
    tell(f"6, {name}", f"{plain}: {why}", f"gave {ours}")
    assert plain == "failed"
    assert why in facts.log(f"{name}_plain")
    assert ours == {answer}


def test_7_logs_of_a_loky_worker(facts: Facts, tell: Tell) -> None:
    """By hand, info is lost and a warning is a bare line of an error; ours have level, logger and item."""
    assert facts.result("logged_plain") == facts.result("logged_ours") == list(range(6))
    plain = [facts.events("logged_plain", text) for text in ("informed of", "warned of")]
    ours = [sorted(facts.events("logged_ours", text)) for text in ("informed of", "warned of")]
    tell("7", f"info: {len(plain[0])} lines; warning as {set(plain[1])}", f"info: {len(ours[0])} lines; {ours[1][0]}")
    assert plain == [[], [("error", "task.stderr", None)] * 6]
    assert ours == [[(level, "shop.orders", item) for item in range(6)] for level in ("info", "warning")]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_9_start_methods(started: Facts, tell: Tell, method: str) -> None:
    """By hand, workers that are started anew run the airflow script and die, again and again; ours work."""
    eventually(lambda: "Could not parse SQLAlchemy URL" in started.log(f"{method}_plain"))
    trace = started.folder / f"{method}_plain-task"
    task = psutil.Process(int(trace.read_text()))
    alive, begun = runs(task), len([*started.folder.glob(f"{method}_plain-?")])
    kill_all([task, *task.children(recursive=True)])
    script = "bin/airflow" in started.log(f"{method}_plain")
    ours = started.result(f"{method}_ours")
    plain = f"workers ran the airflow script: {script}; items begun: {begun}; task hung: {alive}"
    tell(f"9, {method}", plain, f"{len(ours)} results")
    assert (script, begun, alive) == (True, 0, True)
    assert ours == list(range(6))
