"""Whatever ends a task that has a local cluster of its own, none of the cluster's processes is left, and no file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.conftest import NEEDS
from tests.harness import AirflowInstance
from tests.integration.endings import Running, Slot, eventually, runs, seconds_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(600)]

#: How many processes are between a worker and the task.
BETWEEN = {"dask": 0, "ray": 1, "spark": 2}


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is so short that clusters look for no other."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def mortal(
    airflow_database: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowInstance]:
    """An Airflow of its own, with its own temporary files."""
    home = tmp_path_factory.mktemp("mortal")
    folder = tmp_path_factory.mktemp("mortal_dags")
    (folder / "endings.py").write_text((Path(__file__).parent / "dag_files" / "endings.py").read_text())
    with AirflowInstance(home, [folder], env={"TMPDIR": str(temporary)}, database=airflow_database) as instance:
        instance.wait_for_dags("endings_dask", "endings_failing_ray")
        yield instance
    assert not instance.leftovers()


@pytest.fixture(params=BETWEEN)
def engine(request: pytest.FixtureRequest) -> str:
    """An engine that has local clusters of processes."""
    name: str = request.param
    pytest.importorskip(NEEDS[name], reason=f"The engine {name} is not installed.")
    return name


def folders(temporary: Path) -> set[Path]:
    """What local clusters have among the temporary files."""
    return {folder for name in ("ray", "spark") for folder in temporary.glob(f"airflow-joblib-{name}-*")}


@pytest.fixture
def start(mortal: AirflowInstance, engine: str, tmp_path: Path) -> Callable[[str], Running]:
    """Trigger a DAG and wait until two items have begun."""

    def begun(dag_id: str) -> Running:
        run_id = mortal.trigger(dag_id, conf={"folder": str(tmp_path)})
        eventually(lambda: len([*tmp_path.glob("*.began")]) >= 2, lambda: mortal.log(dag_id, run_id, "slow"))
        pids = sorted({int(trace.read_text()) for trace in tmp_path.glob("*.began")})
        workers = [process for process in mortal.leftovers() if process.pid in pids]
        task = workers[0].parents()[BETWEEN[engine]]
        supervisor = task.parent()
        assert supervisor is not None
        return Running(dag_id, run_id, tmp_path, task, supervisor, Slot(supervisor), workers)

    return begun


@pytest.mark.parametrize(
    "ending",
    [
        "SIGTERM to the task",
        pytest.param("SIGTERM to the supervisor", marks=pytest.mark.nightly),  # which hands it on to the task
        "SIGKILL of the task",
    ],
)
def test_task_is_ended(
    mortal: AirflowInstance,
    engine: str,
    start: Callable[[str], Running],
    temporary: Path,
    ending: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The task fails for that reason, and everything below it is gone within seconds."""
    before = folders(temporary)
    running = start(f"endings_{engine}")
    processes = running.processes()
    if ending == "SIGKILL of the task":
        running.task.kill()
    else:
        (running.task if "task" in ending else running.supervisor).terminate()
    seconds = seconds_to_end(processes, limit=60)
    with capsys.disabled():
        print(f"\n{running.dag_id}, {ending}: last of {len(processes)} processes gone after {seconds:.2f} s")
    assert not [process for process in processes if runs(process)]
    ended = running.ended()
    assert mortal.wait(running.dag_id, running.run_id).task("slow").state == "failed"
    assert running.ended() == ended
    if "SIGTERM" in ending:
        assert "SIGTERM" in mortal.log(running.dag_id, running.run_id, "slow")
        assert not folders(temporary) - before


def test_failing_item(mortal: AirflowInstance, engine: str, start: Callable[[str], Running], temporary: Path) -> None:
    """An item's exception ends the cluster with the task, and what a killed task has left of files goes with it."""
    running = start(f"endings_failing_{engine}")
    processes = running.processes()
    mortal.wait(running.dag_id, running.run_id)
    seconds_to_end(processes, limit=30)
    assert not [process for process in processes if runs(process)]
    assert "item 3" in mortal.log(running.dag_id, running.run_id, "failing")
    assert engine == "dask" or not folders(temporary)
