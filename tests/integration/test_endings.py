"""Whatever ends a task, within five seconds none of its processes is left and no item goes on."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

from tests.harness import AirflowInstance
from tests.integration.endings import (
    LIMIT,
    PROCESSES,
    Running,
    Slot,
    begun,
    check_all_gone,
    check_none_went_on,
    eventually,
    items_begun,
    runs,
    seconds_to_end,
    sockets,
)
from tests.integration.helpers import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


class Ending(NamedTuple):
    """A way to end a task from outside.

    Attributes:
        name: What it is, in words.
        act: Does it.
        log: What the task's log must have.
        reported: Whether anybody is left to report the task's end.
        noticed: Whether the time counts from the first process gone: Airflow takes up to a heartbeat to notice.
        backends: The backends it is tried on.
    """

    name: str
    act: Callable[[Running, AirflowInstance], object]
    log: str = ""
    reported: bool = True
    noticed: bool = False
    backends: tuple[str, ...] = (*PROCESSES, "early", "async")


def mark_failed(running: Running, airflow: AirflowInstance) -> None:
    """Set the task to failed, as one does in the UI."""
    path = ("dags", running.dag_id, "dagRuns", running.run_id, "taskInstances", "slow")
    airflow.api.patch(*path, body={"new_state": "failed"})


def clear_run(running: Running, airflow: AirflowInstance) -> None:
    """Clear the DAG run."""
    airflow.api.post("dags", running.dag_id, "dagRuns", running.run_id, "clear", body={"dry_run": False})


SIGTERM = Ending("SIGTERM to the task", lambda running, _: running.task.terminate(), log="SIGTERM")
#: With the LocalExecutor the supervisor is the executor's worker process: it has no other that could be killed.
SUPERVISOR_KILLED = Ending(
    "SIGKILL of the supervisor, the LocalExecutor's worker",
    lambda running, _: running.supervisor.kill(),
    reported=False,
)
#: Before Airflow 3.3 a supervisor does not hand the signal on, and a plain task goes on for a while as well.
SUPERVISOR_ENDED = Ending("SIGTERM to the supervisor", lambda running, _: running.supervisor.terminate(), log="SIGTERM")
ENDINGS = (
    Ending("SIGKILL of the task (out of memory)", lambda running, _: running.task.kill()),
    SIGTERM,
    *([SUPERVISOR_ENDED] if AIRFLOW >= (3, 3) else ()),
    SUPERVISOR_KILLED,
    Ending("set to failed through the API", mark_failed, reported=False, noticed=True, backends=("loky", "async")),
    Ending("DAG run cleared while it runs", clear_run, reported=False, noticed=True, backends=("loky", "async")),
)
CASES = [
    pytest.param(
        ending,
        backend,
        id=f"{ending.name}-{backend}",
        marks=[pytest.mark.nightly] if backend == "async" else [],
    )
    for ending in ENDINGS
    for backend in ending.backends
]


@pytest.fixture(scope="module")
def mortal(airflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow of its own, since some of its executor's processes are killed here."""
    home = tmp_path_factory.mktemp("mortal")
    dag_files = Path(__file__).parent / "dag_files"
    folder = tmp_path_factory.mktemp("mortal_dags")
    (folder / "endings.py").write_text((dag_files / "endings.py").read_text())
    (home / "tmp").mkdir()
    # A supervisor that sees a task's sockets close a moment before its process has ended sleeps once more, for so long:
    # five seconds by default (3.3.2), with the slot, whatever the task was.
    config = {"workers": {"min_heartbeat_interval": "1"}}
    env = {"TMPDIR": str(home / "tmp")}
    with AirflowInstance(home, [folder], env=env, database=airflow_database, config=config) as instance:
        instance.wait_for_dags("endings_loky", "endings_slots", "endings_timeout_sequential")
        yield instance
    check_none_went_on()
    assert not instance.leftovers()
    assert not sockets(instance)
    assert not [path for path in (home / "tmp").iterdir() if re.search("joblib|loky|pymp", path.name)]


@pytest.fixture
def start(mortal: AirflowInstance, tmp_path: Path) -> Callable[[str], Running]:
    """Trigger a DAG and wait until two items have begun."""
    return lambda dag_id: begun(mortal, dag_id, tmp_path)


@pytest.mark.parametrize(("ending", "backend"), CASES)
def test_task_is_ended(
    mortal: AirflowInstance,
    start: Callable[[str], Running],
    ending: Ending,
    backend: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever ends it from outside ends its workers; the task is no success, and its log tells of no other end."""
    running = start(f"endings_{backend}")
    processes = running.processes()
    ending.act(running, mortal)
    if ending.noticed:
        wait_for_first_end(processes)
    check_all_gone(running, processes, ending.name, capsys, again=ending.act is clear_run)
    assert ending.act is clear_run or not sockets(mortal)  # a task that was cleared runs again already
    if backend == "async" and ending.log:
        check_all_left(running)
    if ending.reported:
        assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "failed"
    else:
        mortal.api.patch("dags", running.dag_id, "dagRuns", running.run_id, body={"state": "failed"})
    log = mortal.log(running.dag_id, running.run_id, "slow")
    assert "segmentation fault" not in log
    assert ending.log in log


def check_all_left(running: Running) -> None:
    """Every item of an asynchronous function that was under way has run its ``finally`` block."""
    assert len([*running.folder.glob("*.left")]) == len([*running.folder.glob("*.began")]) >= 1000


@pytest.mark.parametrize("backend", PROCESSES)
def test_worker_is_killed(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of one worker costs what was unfinished: the log says that it was a kill, and the task succeeds."""
    running = start(f"endings_few_{backend}")
    pool = [process for process in running.processes() if process in running.workers]
    running.workers[0].kill()
    seconds = seconds_to_end(pool)
    with capsys.disabled():
        print(f"\n{running.dag_id}, SIGKILL of one worker: last process of its pool gone after {seconds:.2f} s")
    assert seconds < LIMIT
    assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "success"
    assert mortal.xcom(running.dag_id, running.run_id, "slow") == list(range(8))
    eventually(lambda: not sockets(mortal), timeout=60)  # the task that was cleared before may still run
    log = mortal.log(running.dag_id, running.run_id, "slow")
    assert "segmentation fault" not in log
    assert "was ended by SIGKILL while it ran item" in log


def wait_for_first_end(processes: list[psutil.Process]) -> None:
    """Wait until one of them is gone."""
    deadline = time.monotonic() + 30
    while all(runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("backend", ["threading", "sequential"])
@pytest.mark.parametrize("ending", [SIGTERM, SUPERVISOR_KILLED], ids=lambda ending: ending.name)
def test_items_in_the_task_itself(
    mortal: AirflowInstance,
    start: Callable[[str], Running],
    ending: Ending,
    backend: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A task whose items run in its own process is ended as well."""
    running = start(f"endings_{backend}")
    ending.act(running, mortal)
    check_all_gone(running, [running.task], ending.name, capsys)
    if ending.reported:
        assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "failed"
        assert "TaskKilledError" in mortal.log(running.dag_id, running.run_id, "slow")
    else:
        mortal.api.patch("dags", running.dag_id, "dagRuns", running.run_id, body={"state": "failed"})


@pytest.mark.nightly
def test_worker_of_an_asynchronous_function_is_killed(
    mortal: AirflowInstance, start: Callable[[str], Running], capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of one of two event loops with 500 items each under way: those run again, and the task succeeds."""
    running = start("endings_few_async")
    running.workers[0].kill()
    seconds = seconds_to_end(running.workers[:1])
    with capsys.disabled():
        print(f"\n{running.dag_id}, SIGKILL of one worker: gone after {seconds:.2f} s")
    state = mortal.wait(running.dag_id, running.run_id).task("slow").state
    assert state == "success", mortal.log(running.dag_id, running.run_id, "slow")
    assert mortal.xcom(running.dag_id, running.run_id, "slow") == list(range(1000))


Timeouts = dict[str, tuple[Running, list[psutil.Process]]]
#: In the order in which their limits end them.
TIMEOUTS = ("threading", "multiprocessing", "loky")


@pytest.fixture(scope="module")
def timeouts(mortal: AirflowInstance, tmp_path_factory: pytest.TempPathFactory) -> Timeouts:
    """Tasks that wait for their limits side by side, each with the processes that it has once its items have begun."""
    started = {}
    for backend in TIMEOUTS:
        folder = tmp_path_factory.mktemp(backend)
        dag_id = f"endings_timeout_{backend}"
        started[backend] = dag_id, mortal.trigger(dag_id, conf={"folder": str(folder)}), folder
    running = {backend: items_begun(mortal, *run) for backend, run in started.items()}
    return {backend: (one, one.processes()) for backend, one in running.items()}


@pytest.mark.parametrize("backend", TIMEOUTS)
def test_timeout(mortal: AirflowInstance, timeouts: Timeouts, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``execution_timeout`` ends the workers with the task."""
    running, processes = timeouts[backend]
    check_timeout(mortal, running, processes, capsys)


@pytest.mark.nightly
def test_timeout_of_an_asynchronous_function(
    mortal: AirflowInstance, start: Callable[[str], Running], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for items of an event loop, which run their ``finally`` blocks."""
    running = start("endings_timeout_async")
    check_timeout(mortal, running, running.processes(), capsys)
    check_all_left(running)


def check_timeout(
    airflow: AirflowInstance, running: Running, processes: list[psutil.Process], capsys: pytest.CaptureFixture[str]
) -> None:
    """The task fails for its limit, and nothing of it is left."""
    airflow.wait(running.dag_id, running.run_id)
    check_all_gone(running, processes, "execution_timeout", capsys)
    assert "AirflowTaskTimeout" in airflow.log(running.dag_id, running.run_id, "slow")


@pytest.mark.parametrize("backend", [*PROCESSES, pytest.param("async", marks=pytest.mark.nightly)])
def test_success(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task that succeeds leaves as little as one that is ended."""
    running = start(f"endings_few_{backend}")
    processes = running.processes()
    assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "success"
    check_all_gone(running, processes, "success", capsys)


@pytest.mark.parametrize("backend", [*PROCESSES, pytest.param("async", marks=pytest.mark.nightly)])
def test_failing_item(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An item's exception ends the workers with the task."""
    running = start(f"endings_failing_{backend}")
    processes = running.processes()
    mortal.wait(running.dag_id, running.run_id)
    check_all_gone(running, processes, "an item's exception", capsys)
    if backend == "async":
        check_all_left(running)
    assert "item 3" in mortal.log(running.dag_id, running.run_id, "failing")


def test_slot_after_success(mortal: AirflowInstance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slot is free as soon after a fan-out as after an empty task, but for a second at most.

    The best of three runs counts: the moment that an executor sees a process end is the machine's as well.
    """
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        held = seconds_held(mortal, folder)
        with capsys.disabled():
            print(f"\nslot held after success: empty task {held['empty']:.2f} s, fan-out {held['ours']:.2f} s")
        if held["ours"] < held["empty"] + 1:
            return
    pytest.fail(f"the slot was held too long, three times: {held}")


def seconds_held(airflow: AirflowInstance, folder: Path) -> dict[str, float]:
    """How long the executor's slot was held after the end of an empty task, and of a fan-out."""
    run_id = airflow.trigger("endings_slots", conf={"folder": str(folder)})
    freed = {name: freed_at(folder, name) for name in ("empty", "ours")}
    run = airflow.wait("endings_slots", run_id)
    held = {}
    for name, moment in freed.items():
        end = run.task(name).end
        assert end is not None
        held[name] = moment - end.timestamp()
    return held


def freed_at(folder: Path, name: str) -> float:
    """Let a task go on; when the executor's worker that ran it had nothing more to do with it."""
    trace = folder / f"{name}-0"
    eventually(trace.exists)
    here, parent = map(int, trace.read_text().split())
    # The parent of a worker is what it was forked from, that one's parent the task.
    supervisor = psutil.Process(here).parent() if name == "empty" else psutil.Process(parent).parents()[1]
    assert supervisor is not None
    held = Slot(supervisor)
    (folder / f"{name}.go").touch()
    held.seconds(60)
    return time.time()
