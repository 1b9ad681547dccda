"""What plain joblib does wrong in a task, and what this library makes of it, by the kit alone: no executor runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import warnings
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import psutil
import pytest
from airflow.sdk import DAG, Variable, task
from joblib.externals.loky import get_reusable_executor

from airflow_joblib import parallel_task, testing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    AirflowTask = Callable[..., AbstractContextManager[testing.TaskRun]]


@pytest.fixture(scope="module")
def plain() -> Any:
    """A DAG file with functions that joblib runs by hand."""
    return testing.load_dag_file(Path(__file__).parent / "dag_files" / "by_hand.py")


@pytest.fixture
def by_hand() -> Iterator[Callable[..., list[Any]]]:
    """What runs a function by plain joblib; its workers are ended after the test, which joblib leaves to itself."""

    def run(function: Callable[[Any], Any], items: list[Any], **options: Any) -> list[Any]:
        return list(joblib.Parallel(n_jobs=2, **options)(joblib.delayed(function)(item) for item in items))

    yield run
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def tolerant(manager: AbstractContextManager[testing.TaskRun]) -> Iterator[testing.TaskRun]:
    """Tolerate what plain joblib leaves behind, where a test is about something else."""
    try:
        with manager as run:
            yield run
    except AssertionError as error:
        if "left something behind" not in str(error):
            raise


def test_1_function_of_a_dag_file(airflow_task: AirflowTask, plain: Any, by_hand: Any) -> None:
    """By hand the function of a DAG file can't reach a worker, whatever a dump says; here it does, forked or fresh."""
    with tolerant(airflow_task()), pytest.raises(Exception, match="un-serialize"):
        by_hand(plain.double, [1, 2])
    for backend in ("auto", "loky"):
        with airflow_task():
            item: Any = parallel_task(n_jobs=2, backend=backend)(plain.double)
            assert item.map([1, 2]) == [2, 4]


def test_2_workers_after_the_task(airflow_task: AirflowTask, by_hand: Any) -> None:
    """By hand idle workers live on after the task, and hold its slot; here nothing is left."""
    pids = by_hand(where, [1, 2])
    assert all(map(psutil.pid_exists, pids))
    with airflow_task():
        pids = parallel_task(n_jobs=2, backend="loky")(where).map([1, 2])
    assert not any(map(psutil.pid_exists, pids))


def killed(
    folder: Path, signal_: int, run: Callable[[testing.TaskRun], object], seconds: float = 5.0
) -> tuple[list[int], int]:
    """Run something in a task of its own process, and send that a signal once two workers are in the folder.

    Return which workers live on, some seconds after its end, and the exit code. Those are killed.
    What it leaves lies in a folder of its own: tests in other processes look for what is left in the usual one.
    """
    with tempfile.TemporaryDirectory(prefix="killed-", ignore_cleanup_errors=True) as place:
        return _killed(place, folder, signal_, run, seconds)


def _killed(
    place: str, folder: Path, signal_: int, run: Callable[[testing.TaskRun], object], seconds: float
) -> tuple[list[int], int]:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            tempfile.tempdir = place
            with tolerant(testing.task()) as task_run:
                run(task_run)
            code = 0
        finally:
            os._exit(code)
    until = time.monotonic() + 60
    while len(workers := [int(file.name) for file in folder.iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child, signal_)
    _, status = os.waitpid(child, 0)
    until = time.monotonic() + seconds
    while (alive := [pid for pid in workers if psutil.pid_exists(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    return alive, os.waitstatus_to_exitcode(status)


def slow(folder: Path, seconds: float = 60.0) -> Callable[[int], int]:
    """Return a function that takes its time, and says where it runs."""

    def item(number: int) -> int:
        (folder / str(os.getpid())).touch()
        time.sleep(seconds)
        return number

    return item


def test_3_sigkill_of_the_task(tmp_path: Path, by_hand: Any) -> None:
    """By hand the workers of a task that is killed go on; here they end with it."""
    alive, code = killed(tmp_path, signal.SIGKILL, lambda _: by_hand(slow(tmp_path), [1, 2]), seconds=1.0)
    assert (len(alive), code) == (2, -signal.SIGKILL)
    ours = tmp_path / "ours"
    ours.mkdir()
    alive, code = killed(ours, signal.SIGKILL, lambda _: parallel_task(n_jobs=2)(slow(ours)).map([1, 2]))
    assert (alive, code) == ([], -signal.SIGKILL)


def test_4_sigterm(tmp_path: Path, by_hand: Any) -> None:
    """By hand SIGTERM, which Airflow's handler takes, ends nothing: the task succeeds. Here it ends the fan-out."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    with DAG("sigterm", schedule=None):

        @task
        def loop() -> list[int]:
            found: list[int] = by_hand(slow(theirs, 2.0), [1, 2])
            return found

        made_by_hand = loop()
        made = parallel_task(n_jobs=2)(slow(ours))([1, 2])

    def run_by_hand(run: testing.TaskRun) -> None:
        assert run.execute(made_by_hand) == [1, 2]

    assert killed(theirs, signal.SIGTERM, run_by_hand, seconds=0.0)[1] == 0
    alive, code = killed(ours, signal.SIGTERM, lambda run: run.execute(made))
    assert (alive, code) == ([], 1)


def rate(_: int) -> str:
    """Ask Airflow, as a task would."""
    return str(Variable.get("rate", default="the default"))


def test_5_variable_in_a_fork(airflow_task: AirflowTask) -> None:
    """By hand a forked worker is given the default, without a word; here the value."""
    with airflow_task(variables={"rate": "seven"}):
        with get_context("fork").Pool(2) as pool:
            assert pool.map(rate, [1, 2]) == ["the default"] * 2
        assert parallel_task(n_jobs=2, backend="multiprocessing")(rate).map([1, 2]) == ["seven"] * 2


def test_6_airflow_in_a_fresh_worker(airflow_task: AirflowTask, by_hand: Any) -> None:
    """By hand a fresh worker can't even import Airflow, whose database has an unusable address; here it can."""

    def ask(n: int) -> str:
        from airflow.sdk import Variable as Asked

        return str(Asked.get("rate"))

    with airflow_task(variables={"rate": "seven"}) as run:
        assert parallel_task(n_jobs=2, backend="loky")(ask).map([1, 2]) == ["seven"] * 2
    assert run.xcoms["return_value"] == ["seven"] * 2
    with tolerant(airflow_task(variables={"rate": "seven"})), pytest.raises(Exception, match="Could not parse"):
        by_hand(ask, [1, 2])


def test_7_logs_of_a_fresh_worker(airflow_task: AirflowTask, plain: Any, by_hand: Any) -> None:
    """By hand what a worker logs is lost for the task's log; here it has level, logger and item."""

    def say(n: int) -> int:
        import logging

        logging.getLogger("shop").info("informed of %s", n)
        return n

    with tolerant(airflow_task()) as run:
        by_hand(say, [1, 2])
    assert not [line for line in run.logs if "informed" in line["event"]]
    with airflow_task() as run:
        parallel_task(n_jobs=2, backend="loky")(say).map([1, 2])
    said = [line for line in run.logs if "informed" in line["event"]]
    assert sorted((line["event"], line["level"], line["logger"], line["item"]) for line in said) == [
        ("informed of 1", "info", "shop", 0),
        ("informed of 2", "info", "shop", 1),
    ]


def where(_: int) -> int:
    """Return which process this is, after a while in which another worker takes the next item."""
    time.sleep(0.1)
    return os.getpid()


def test_8_a_daemonic_task(airflow_task: AirflowTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand a task of Celery has one worker, itself; here it has as many as it asks for."""
    config: Any = vars(current_process())["_config"]
    monkeypatch.setitem(config, "daemon", True)
    with airflow_task():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert joblib.effective_n_jobs(3) == 1
        pids = parallel_task(n_jobs=2, batch_size=1)(where).map(range(4))
        assert len(set(pids) - {os.getpid()}) == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_9_start_methods(airflow_task: AirflowTask, plain: Any, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """By hand a worker that is started anew dies as it starts; with that start method set, ours work."""
    with tolerant(airflow_task()):
        context: Any = get_context(method)
        process = context.Process(target=plain.double, args=(1,))
        process.start()
        process.join()
        assert process.exitcode == 1
    monkeypatch.setenv("JOBLIB_START_METHOD", method)
    with airflow_task():
        item: Any = parallel_task(n_jobs=2)(plain.double)
        assert item.map([1, 2]) == [2, 4]


def test_10_workers_without_airflow(airflow_task: AirflowTask) -> None:
    """A fresh worker that never touches Airflow never imports it, though the task has."""

    def loaded(n: int) -> bool:
        return "airflow" in sys.modules

    with airflow_task():
        assert parallel_task(n_jobs=2, backend="loky")(loaded).map([1, 2]) == [False, False]
        assert "airflow" in sys.modules
