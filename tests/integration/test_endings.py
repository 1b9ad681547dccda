"""Whatever ends a task, within five seconds none of its processes is left and no item goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest

from tests.harness import AirflowInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

LIMIT = 5.0
PROCESSES = ("loky", "multiprocessing")


class Running(NamedTuple):
    """A run whose items are under way.

    Attributes:
        folder: Where items leave their traces.
        task: The task's process.
        supervisor: The process that watches it.
        workers: The worker processes that have begun an item.
    """

    dag_id: str
    run_id: str
    folder: Path
    task: psutil.Process
    supervisor: psutil.Process
    workers: list[psutil.Process]

    def processes(self) -> list[psutil.Process]:
        """The task's process and everything below it."""
        return [self.task, *self.task.children(recursive=True)]

    def ended(self) -> int:
        """How many items have come to their end."""
        return len(list(self.folder.glob("*.ended")))


def shared_memory() -> set[Path]:
    """What joblib has in shared memory."""
    return set(Path("/dev/shm").glob("joblib_memmapping_folder_*"))


@pytest.fixture(scope="module")
def mortal(airflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An Airflow of its own, since some of its executor's processes are killed here."""
    home = tmp_path_factory.mktemp("mortal")
    dag_files = Path(__file__).parent / "dag_files"
    folder = tmp_path_factory.mktemp("mortal_dags")
    (folder / "endings.py").write_text((dag_files / "endings.py").read_text())
    (home / "tmp").mkdir()
    before = shared_memory()
    with AirflowInstance(home, [folder], env={"TMPDIR": str(home / "tmp")}, database=airflow_database) as instance:
        instance.wait_for_dags("endings_loky", "endings_timeout_sequential")
        yield instance
    assert not instance.leftovers()
    assert not list((home / "tmp").glob("airflow-joblib-*"))
    assert not shared_memory() - before


@pytest.fixture
def start(mortal: AirflowInstance, tmp_path: Path) -> Callable[[str], Running]:
    """Trigger a DAG and wait until two items have begun."""

    def begin(dag_id: str) -> Running:
        run_id = mortal.trigger(dag_id, conf={"folder": str(tmp_path)})
        deadline = time.monotonic() + 60
        while len(traces := list(tmp_path.glob("*.began"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(traces) >= 2, mortal.log(dag_id, run_id, "slow")
        workers = [psutil.Process(pid) for pid in sorted({int(trace.read_text()) for trace in traces})]
        task = workers[0].parent() if dag_id.rpartition("_")[2] in PROCESSES else workers[0]
        assert task is not None
        supervisor = task.parent()
        assert supervisor is not None
        return Running(dag_id, run_id, tmp_path, task, supervisor, workers)

    return begin


def seconds_to_end(processes: list[psutil.Process], limit: float = 3 * LIMIT) -> float:
    """How long it takes until none of them is left."""
    began = time.monotonic()
    while any(runs(process) for process in processes) and time.monotonic() - began < limit:
        time.sleep(0.02)
    return time.monotonic() - began


def runs(process: psutil.Process) -> bool:
    """Whether a process still does something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_all_gone(
    running: Running, processes: list[psutil.Process], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of the processes is left in time, and from then on no item goes on."""
    seconds = seconds_to_end(processes)
    ended = running.ended()
    with capsys.disabled():
        print(f"\n{running.dag_id}, {how}: last process gone after {seconds:.2f} s")
    assert seconds < LIMIT, [process for process in processes if runs(process)]
    time.sleep(1.5)
    assert running.ended() == ended


def kill_task(running: Running, mortal: AirflowInstance) -> None:
    """An out-of-memory kill."""
    del mortal
    running.task.kill()


def terminate_task(running: Running, mortal: AirflowInstance) -> None:
    """SIGTERM to the task's process alone."""
    del mortal
    running.task.terminate()


def terminate_supervisor(running: Running, mortal: AirflowInstance) -> None:
    """SIGTERM to the supervisor, as Kubernetes sends it."""
    del mortal
    running.supervisor.terminate()


def kill_supervisor(running: Running, mortal: AirflowInstance) -> None:
    """SIGKILL of the supervisor, which with the LocalExecutor is the executor's worker."""
    del mortal
    running.supervisor.kill()


def kill_worker(running: Running, mortal: AirflowInstance) -> None:
    """SIGKILL of one worker."""
    del mortal
    running.workers[0].kill()


def mark_failed(running: Running, mortal: AirflowInstance) -> None:
    """The task is set to failed in the UI."""
    path = ("dags", running.dag_id, "dagRuns", running.run_id, "taskInstances", "slow")
    mortal.api.patch(*path, body={"new_state": "failed"})


def clear_run(running: Running, mortal: AirflowInstance) -> None:
    """The DAG run is cleared while it runs."""
    mortal.api.post("dags", running.dag_id, "dagRuns", running.run_id, "clear", body={"dry_run": False})


@pytest.mark.parametrize("backend", PROCESSES)
@pytest.mark.parametrize("end", [kill_task, terminate_task, terminate_supervisor, kill_worker])
def test_task_is_ended(
    mortal: AirflowInstance,
    start: Callable[[str], Running],
    end: Callable[[Running, AirflowInstance], None],
    backend: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A signal to the task, its supervisor or a worker ends them all; the task is no success, and its log says why."""
    running = start(f"endings_{backend}")
    processes = running.processes()
    end(running, mortal)
    check_all_gone(running, processes, str(end.__doc__), capsys)
    result = mortal.wait(running.dag_id, running.run_id)
    assert result.task("slow").state == "failed"
    log = mortal.log(running.dag_id, running.run_id, "slow")
    assert "segmentation fault" not in log
    if end in {terminate_task, terminate_supervisor}:
        assert "SIGTERM" in log
    if end is kill_worker:
        assert "WorkerLostError" in log


@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_sigterm_ends_threads(mortal: AirflowInstance, start: Callable[[str], Running], backend: str) -> None:
    """SIGTERM ends a task whose items run in its own process as well."""
    running = start(f"endings_{backend}")
    running.task.terminate()
    assert seconds_to_end([running.task]) < LIMIT
    assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "failed"


@pytest.mark.parametrize("backend", PROCESSES)
def test_timeout(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``execution_timeout`` ends the workers with the task."""
    running = start(f"endings_timeout_{backend}")
    processes = running.processes()
    mortal.wait(running.dag_id, running.run_id)
    check_all_gone(running, processes, "execution_timeout", capsys)
    assert "AirflowTaskTimeout" in mortal.log(running.dag_id, running.run_id, "slow")


@pytest.mark.parametrize("backend", PROCESSES)
def test_failing_item(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An item's exception ends the workers with the task."""
    running = start(f"endings_failing_{backend}")
    processes = running.processes()
    mortal.wait(running.dag_id, running.run_id)
    check_all_gone(running, processes, "an item's exception", capsys)
    assert "item 3" in mortal.log(running.dag_id, running.run_id, "failing")


@pytest.mark.parametrize("end", [mark_failed, clear_run])
def test_ended_through_the_api(
    mortal: AirflowInstance,
    start: Callable[[str], Running],
    end: Callable[[Running, AirflowInstance], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once Airflow has noticed, at its next heartbeat, the task ends with all its workers."""
    running = start("endings_loky")
    processes = running.processes()
    end(running, mortal)
    wait_for_first_end(processes)
    check_all_gone(running, processes, str(end.__doc__), capsys)
    mortal.api.patch("dags", running.dag_id, "dagRuns", running.run_id, body={"state": "failed"})


def wait_for_first_end(processes: list[psutil.Process]) -> None:
    """Airflow takes up to a heartbeat to notice; what counts is the time from the first process gone."""
    deadline = time.monotonic() + 30
    while all(runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("backend", PROCESSES)
def test_supervisor_is_killed(
    mortal: AirflowInstance, start: Callable[[str], Running], backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its supervisor gone, nobody waits for the task: it ends, and all its workers with it."""
    running = start(f"endings_{backend}")
    processes = running.processes()
    kill_supervisor(running, mortal)
    check_all_gone(running, processes, str(kill_supervisor.__doc__), capsys)
