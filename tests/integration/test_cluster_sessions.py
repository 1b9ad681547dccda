"""What Airflow gives in a worker of a cluster that serves several runs: to each thread what its own run's task has."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Variable, get_current_context
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.xcom import XCom

from airflow_joblib.pickling import dumps
from airflow_joblib.taskflow.cluster.worker_side import SessionFactory
from airflow_joblib.taskflow.logs.levels import Levels
from airflow_joblib.taskflow.relay.answers import Answers
from airflow_joblib.taskflow.relay.supervisor_proxy import error_that_passes
from tests.integration.test_relay_messages import Supervisor, variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration


def named(value: str, msg: Any) -> Any:
    """A reply that shows who gave it."""
    return variable(msg).model_copy(update={"value": value})


def channel(supervisor: Supervisor) -> Callable[..., bytes]:
    """Return what asks a supervisor as a cluster's channel does."""
    answers = Answers(supervisor)
    return lambda request, over: bytes(answers(request[1:])[4:])


@pytest.fixture
def run() -> Iterator[Callable[..., ThreadPoolExecutor]]:
    """Make a run with the channel and the run id given; gives a thread of it."""
    made: list[tuple[Any, ThreadPoolExecutor]] = []

    def make(ask: Callable[..., bytes] | None, run_id: str) -> ThreadPoolExecutor:
        session = SessionFactory("spark", ask, {"run_id": dumps(run_id)}, Levels())()
        made.append((session, ThreadPoolExecutor(1, initializer=session.enter)))
        return made[-1][1]

    yield make
    for session, thread in made:
        thread.shutdown()
        session.leave()
    assert not hasattr(task_runner, "SUPERVISOR_COMMS")


def test_each_its_own(run: Callable[..., ThreadPoolExecutor]) -> None:
    """Two runs in one worker ask their own tasks and have their own contexts; what is no thread of theirs has none."""
    supervisors = [Supervisor(functools.partial(named, name)) for name in "ab"]
    threads = [run(channel(supervisor), f"run {name}") for supervisor, name in zip(supervisors, "ab", strict=True)]
    both = threading.Barrier(2)

    def ask() -> tuple[str, str]:
        both.wait(10)
        return Variable.get("some"), get_current_context()["run_id"]

    assert [future.result() for future in [thread.submit(ask) for thread in threads]] == [
        ("a", "run a"),
        ("b", "run b"),
    ]
    assert all(supervisor.asked for supervisor in supervisors)
    assert not hasattr(task_runner, "SUPERVISOR_COMMS")
    with pytest.raises(RuntimeError, match="no context was found"):
        get_current_context()


def test_no_channel(run: Callable[..., ThreadPoolExecutor]) -> None:
    """Where the engine has no channel a request says so, and what to do; it is no wrong answer, nor a default."""
    thread = run(None, "run")
    for ask in (
        lambda: Variable.get("some", default="a default"),
        lambda: XCom.get_one(key="k", dag_id="d", task_id="t", run_id="r"),
    ):
        with pytest.raises(error_that_passes(), match=r"worker of spark can't: .* a shared argument"):
            thread.submit(ask).result()
    assert thread.submit(lambda: get_current_context()["run_id"]).result() == "run"


def test_task_that_does_not_answer(run: Callable[..., ThreadPoolExecutor]) -> None:
    """A channel that fails is an error as well."""

    def lost(_: bytes, over: object) -> bytes:
        raise ConnectionError("the line is cut")

    with pytest.raises(error_that_passes(), match=r"does not answer .the line is cut."):
        run(lost, "run").submit(lambda: Variable.get("some", default="a default")).result()
