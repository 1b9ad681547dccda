"""What Airflow gives in a worker: what it gives in the task's body, or an error that says why not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from airflow.sdk.execution_time import comms

from tests.integration.helpers import result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PASSWORD = "a password that nobody else has"
SECRET = re.compile(r"(fernet_key|secret_key|jwt_secret|sql_alchemy_conn) = ")
#: Airflow has it since 3.3.
STATE_STORE = hasattr(comms, "SetTaskStateStore")
EXPECTED = {
    "variable": "hello",
    "old way": "hello",
    "default": "the default",
    "json": {"depth": [1, 2]},
    "by context": ("hello", {"depth": [1, 2]}),
    "connection": PASSWORD,
    "hook": (42,),
    "path": (True, True),
    "xcom": [4, 5, 6],
    "no xcom": None,
    **({"state": 3} if STATE_STORE else {}),
}


@pytest.fixture(scope="module")
def run(
    airflow: AirflowInstance, add_dag: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> DagRunResult:
    """One run of all tasks that ask."""
    for key, value in {
        "greeting": "hello",
        "settings": json.dumps({"depth": [1, 2]}),
        "old_1": "1",
        "old_2": "2",
    }.items():
        airflow.api.set_variable(key, value)
    numbers = {"connection_id": "numbers", "conn_type": "sqlite", "host": str(airflow.home / "numbers.db")}
    secret = {"connection_id": "secret", "conn_type": "http", "password": PASSWORD}
    for connection in (numbers, secret, {"connection_id": "files", "conn_type": "fs"}):
        airflow.api.set_connection(**connection)
    conf = {"folder": str(tmp_path_factory.mktemp("asks_airflow"))}
    return airflow.run_dag(add_dag("asks_airflow"), conf)


@pytest.fixture(scope="module")
def many(
    airflow: AirflowInstance, add_dag: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> DagRunResult:
    """One run of all tasks that ask often."""
    for n in range(10):
        airflow.api.set_variable(f"number_{n}", f"variable {n}")
        connection = {"connection_id": f"number_{n}", "conn_type": "http", "host": f"h{n}", "schema": f"s{n}"}
        airflow.api.set_connection(**connection, password=f"password-{n}-{PASSWORD}")
    conf = {"folder": str(tmp_path_factory.mktemp("many_requests"))}
    return airflow.run_dag(add_dag("many_requests"), conf)


class TestSameAnswers:
    """A worker of any kind is told what the task's body is told."""

    @pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing"])
    def test_same_as_in_the_body(self, airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
        """Variables, connections, hooks, paths, XComs, context and state store: the same values, the same errors."""
        body, workers = result(airflow, run, "body"), result(airflow, run, backend)
        for worker in workers:
            assert worker["answers"] == body["answers"]
        assert len({worker["process"] for worker in workers}) == (1 if backend == "threading" else 2)

    def test_body(self, airflow: AirflowInstance, run: DagRunResult) -> None:
        """What the body is told is right, so that the test above means something."""
        answers = result(airflow, run, "body")["answers"]
        assert {name: answers[name] for name in EXPECTED} == EXPECTED
        assert answers["missing"].startswith("AirflowRuntimeError: VARIABLE_NOT_FOUND")
        assert answers["missing connection"].startswith("AirflowNotFoundException")
        assert answers["run_id"] == run.run_id

    def test_context_in_a_fork(self, airflow: AirflowInstance, run: DagRunResult) -> None:
        """A forked worker has the task's own context, with all that is in it."""
        *there, missing = result(airflow, run, "stays_multiprocessing")
        assert [said.partition(": ")[0] for said in there] == ["no error"] * len(there)
        assert missing.startswith("KeyError")

    def test_context_that_stays(self, airflow: AirflowInstance, run: DagRunResult) -> None:
        """What belongs to the task's process is an error with a way out, in the context of a fresh worker."""
        *staying, missing = result(airflow, run, "stays_loky")
        for said in staying:
            assert said.startswith("ParallelTaskError: context[")
            assert "belongs to the process of the task" in said
        assert missing.startswith("KeyError")

    @pytest.mark.skipif(not STATE_STORE, reason="Airflow has a state store since 3.3")
    @pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
    def test_state_store_as_parameter(self, airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
        """The task's state store can be a parameter of the function."""
        assert result(airflow, run, f"store_{backend}") == [[1, run.run_id], [2, run.run_id]]

    @pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
    def test_line_to_the_supervisor(self, airflow: AirflowInstance, run: DagRunResult, backend: str) -> None:
        """A worker process doesn't have the task's line to its supervisor, not even by reading standard input."""
        assert result(airflow, run, f"stdin_{backend}") == [["/dev/null", "", ""]] * 2

    def test_writing(self, airflow: AirflowInstance, run: DagRunResult) -> None:
        """What a worker sets or removes is so for the next task; a task can fan out again and again, and ask itself."""
        assert result(airflow, run, "read_back") == [["10", "20", None, None], 4, "hello"]

    def test_worker_without_airflow(self, airflow: AirflowInstance, run: DagRunResult) -> None:
        """A worker that asks for nothing has not imported Airflow, and was given no secret and no database."""
        config = (airflow.home / "airflow.cfg").read_text()
        secrets = [line.partition(" = ")[2] for line in config.splitlines() if SECRET.match(line)]
        assert len(secrets) >= 4
        for worker in result(airflow, run, "leave_alone"):
            assert worker["loaded"] == []
            assert not [secret for secret in (*secrets, PASSWORD) if secret in worker["started"]]
            assert str(airflow.home / "airflow.db") not in worker["started"]
            assert set(worker["now"].values()) <= {"sqlite://", "airflow-db-not-allowed:///"}


class TestManyRequests:
    """Workers that ask at once: eight forked ones, or two fresh ones, each of which has to import Airflow."""

    @pytest.mark.parametrize(("task_id", "workers"), [("ask", 2), ("ask_forked", 8)])
    def test_many_requests(self, airflow: AirflowInstance, many: DagRunResult, task_id: str, workers: int) -> None:
        """Hundreds of requests: every one has its own answer."""
        found = result(airflow, many, task_id)
        assert [said for _, said in found] == [told(n) for n in range(300)]
        assert len({pid for pid, _ in found}) == workers

    @pytest.mark.nightly
    def test_added_time(self, airflow: AirflowInstance, many: DagRunResult, capsys: pytest.CaptureFixture[str]) -> None:
        """The way by the task's process adds less than 2 ms to a request: the quickest of each, whatever else runs."""
        airflow.wait_for_dags("request_times")
        found = result(airflow, airflow.run_dag("request_times"), "timing")
        (task, task_median), (worker, worker_median) = (
            [min(column) for column in zip(*found[where], strict=True)] for where in ("task", "worker")
        )
        with capsys.disabled():
            medians = f"{task_median * 1e3:.2f} ms in the task, {worker_median * 1e3:.2f} ms in a worker"
            print(f"\nmedian of a request: {medians}; the quickest: {task * 1e3:.2f} ms, {worker * 1e3:.2f} ms")
        assert worker - task < 2e-3

    def test_secret_is_masked(self, airflow: AirflowInstance, many: DagRunResult) -> None:
        """A password that only workers have seen is masked in what they print."""
        password = f"password-0-{PASSWORD}"
        assert result(airflow, many, "ask")[0][1].endswith(password)
        log = airflow.log(many.dag_id, many.run_id, "ask")
        assert "a worker has ***" in log
        assert password not in log

    def test_nothing_is_left(self, airflow: AirflowInstance, many: DagRunResult) -> None:
        """No relay's socket is left when its run is over."""
        assert result(airflow, many, "look_for_socket") == [False]


def told(number: int) -> str:
    """What a worker is told that asks for a number."""
    n = number % 10
    return f"variable {n}" if number % 2 else f"h{n} s{n} password-{n}-{PASSWORD}"


@pytest.mark.server
@pytest.mark.usefixtures("a_postgres")
def test_postgres_hook(airflow: AirflowInstance, add_dag: Callable[[str], str]) -> None:
    """A hook for a real server gives in worker processes what it gives anywhere."""
    run = airflow.run_dag(add_dag("asks_postgres"))
    for backend in ("loky", "multiprocessing"):
        assert result(airflow, run, backend) == [["one", 1], ["two", 2]]


@pytest.fixture
def a_postgres(airflow: AirflowInstance, postgres_url: str) -> Iterator[None]:
    """The connection ``a_postgres``."""
    address = urlsplit(postgres_url)
    known = {"host": address.hostname, "login": address.username, "password": address.password, "port": address.port}
    airflow.api.set_connection("a_postgres", conn_type="postgres", schema=address.path.lstrip("/"), **known)
    yield
    airflow.api.delete("connections", "a_postgres")
