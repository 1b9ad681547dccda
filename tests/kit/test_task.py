"""What runs in the ``with`` of the kit runs as in a task, and all is as before afterwards."""

# Airflow's Context has all of these in a task, and its type says so of none.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import Manager, get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest, mock

import click
import pytest
import structlog
from airflow import settings
from airflow.sdk import Connection, Variable, get_current_context
from airflow.sdk.execution_time import comms, task_runner

from airflow_joblib import WorkerLostError, parallel_task, testing
from airflow_joblib.options import every_run
from airflow_joblib.system import leftovers
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.testing.in_worker import begun
from tests.kit.conftest import HOME

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import ModuleType

    AirflowTask = Callable[..., AbstractContextManager[testing.TaskRun]]


def test_the_example_of_the_docstring(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Workers get Variables of the test, results are what `.map` gives, and logs and XComs can be looked at."""
    with airflow_task(variables={"currency": "EUR"}) as run:
        assert shop.price.map(["apples", "bread"]) == ["apples in EUR", "bread in EUR"]
    of_first = [line for line in run.logs if line.get("item") == 0]
    assert [(line["event"], line["level"]) for line in of_first] == [("price of apples", "info")]
    assert run.xcoms["failures"] == []
    assert run.xcoms["return_value"] == ["apples in EUR", "bread in EUR"]
    assert run.xcoms["fan_out"]["runs"][0]["items"]["done"] == 2


GIVEN = {
    "uri": "postgresql://ann:s3cret-word@db.example:5433/?timeout=9",
    "fields": {
        "conn_type": "postgres",
        "host": "db.example",
        "login": "ann",
        "password": "s3cret-word",
        "port": 5433,
        "extra": {"timeout": "9"},
    },
}


@pytest.mark.parametrize("given", [*GIVEN, "connection"])
def test_connections(airflow_task: AirflowTask, shop: ModuleType, given: str) -> None:
    """A connection may be a URI, a mapping of fields or a Connection; the task and its workers get the same."""
    fields: Any = GIVEN["fields"]
    connection = GIVEN.get(given) or Connection(conn_id="db", **{**fields, "extra": '{"timeout": "9"}'})
    with airflow_task(connections={"db": connection}):
        (found, _) = shop.host.map(["db", "db"])
        assert found == ["postgres", "db.example", "ann", "s3cret-word", 5433, {"timeout": "9"}]
        assert Connection.get("db").host == "db.example"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conn_type": "http", "hots": "a"}, "has no field 'hots'"),
        ({"host": "a"}, "has no conn_type"),
        (7, "is a int. Give a URI"),
    ],
)
def test_connections_that_are_none(airflow_task: AirflowTask, given: Any, message: str) -> None:
    """What is no connection is a TypeError that says what one can be."""
    with pytest.raises(TypeError, match=message), airflow_task(connections={"db": given}):
        pass


def test_what_is_not_given_is_missing(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A Variable or a Connection that the test hasn't given has Airflow's own error, in a worker too; defaults hold."""
    with airflow_task() as run:
        variable, default, connection = shop.asked.map(["variable", "default", "connection"])
        with pytest.raises(airflow_internals.AirflowRuntimeError, match="VARIABLE_NOT_FOUND"):
            Variable.get("missing")
        with pytest.raises(airflow_internals.AirflowNotFoundException):
            Connection.get("missing")
    assert variable.startswith("AirflowRuntimeError: VARIABLE_NOT_FOUND")
    assert default == "the default"
    assert connection.startswith("AirflowNotFoundException: The conn_id `missing` isn't defined")
    assert run.xcoms["return_value"][1] == "the default"


def test_variables_that_are_no_texts(airflow_task: AirflowTask) -> None:
    """What is no text is stored as JSON; what the task sets it finds, and what it deletes is gone."""
    with airflow_task(variables={"limits": {"most": 3}}):
        assert Variable.get("limits", deserialize_json=True) == {"most": 3}
        Variable.set("new", "value")
        assert Variable.get("new") == "value"
        Variable.delete("new")
        assert Variable.get("new", default=None) is None


def test_context(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Workers get the real context, of a made-up run with what the test gives on top."""
    with airflow_task(context={"run_id": "r1", "params": {"limit": 3}, "try_number": 2}) as run:
        found = shop.in_context.map(["a", "b"])
        ti = get_current_context()["ti"]
        assert (ti.run_id, ti.try_number, ti.task_id) == ("r1", 2, "task")
        ti.xcom_push(key="own", value={"a": (1, 2)})
        assert ti.xcom_pull(key="own") == {"a": (1, 2)}
    assert found == [[name, "r1", "2026-01-01", {"limit": 3}, "r1", 2] for name in "ab"]
    assert run.xcoms["own"] == {"a": (1, 2)}


def test_context_of_another_date(airflow_task: AirflowTask) -> None:
    """What depends on the logical date goes by the one that is given."""
    from datetime import UTC, datetime

    with airflow_task(context={"logical_date": datetime(2030, 2, 3, tzinfo=UTC)}):
        context = get_current_context()
        assert (context["ds"], context["ts_nodash"]) == ("2030-02-03", "20300203T000000")
        assert context["run_id"] == "manual__2030-02-03T00:00:00+00:00"


def test_context_of_a_date_as_a_text(airflow_task: AirflowTask) -> None:
    """A point in time may be an ISO text, in UTC where it says nothing else; what is none is a TypeError."""
    with airflow_task(context={"logical_date": "2030-02-03"}):
        context = get_current_context()
        assert (context["ds"], context["ts"]) == ("2030-02-03", "2030-02-03T00:00:00+00:00")
    with pytest.raises(TypeError, match="logical_date is 'soon'"), airflow_task(context={"logical_date": "soon"}):
        pass
    with pytest.raises(TypeError, match="data_interval_end is 7"), airflow_task(context={"data_interval_end": 7}):
        pass


def test_context_that_is_asked_for_again(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """What is given on top stays, though Airflow sets the context up again at each call."""
    with airflow_task(context={"ds": "2026-06-01", "params": {"limit": 3}}):
        assert get_current_context()["ti"].get_template_context()["ds"] == "2026-06-01"
        assert [found[2] for found in shop.in_context.map(["a", "b"])] == ["2026-06-01"] * 2


def test_context_without_such_a_name(airflow_task: AirflowTask) -> None:
    """A misspelt name is an error with the near one."""
    with pytest.raises(TypeError, match=r"has no 'param'\. Did you mean 'params'?"), airflow_task(context={"param": 1}):
        pass


def test_secrets_are_masked(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A secret that a worker has read is masked in the log, printed or logged, and forgotten afterwards."""
    with airflow_task(variables={"shop_password": "hunter-two"}) as run:
        shop.login.map(["ann", "bob"])
    said = [line["event"] for line in run.logs if line["logger"] in {"shop.prices", "task.stdout"}]
    assert sorted(said) == ["ann logs in with ***", "bob logs in with ***", "printed ***", "printed ***"]
    assert airflow_internals.redact("hunter-two") == "hunter-two"


def test_log_of_the_task_itself(airflow_task: AirflowTask, caplog: pytest.LogCaptureFixture) -> None:
    """What the test's own process logs and prints is there too, with level and logger, and pytest sees it as well."""
    with airflow_task() as run:
        logging.getLogger("shop").warning("low on %s", "tea")
        structlog.get_logger("shop.stock").info("counted", pieces=3)
        print("said")
        print("wrong", file=sys.stderr)
    assert [(line["event"], line["level"], line["logger"]) for line in run.logs] == [
        ("low on tea", "warning", "shop"),
        ("counted", "info", "shop.stock"),
        ("said", "info", "task.stdout"),
        ("wrong", "error", "task.stderr"),
    ]
    assert run.logs[1]["pieces"] == 3
    assert caplog.messages == ["low on tea"]


def test_standard_output(airflow_task: AirflowTask, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output takes bytes too and has an encoding; the rest of a line is logged at the end."""
    with airflow_task() as run:
        assert (sys.stdout.encoding, sys.stdout.isatty()) == ("utf-8", False)
        click.echo("a text")
        click.echo("some bytes: é".encode())
        sys.stdout.buffer.write(b"\xff\n")
        print("un", end="")
        print("finished", end="")
    said = ["a text", "some bytes: é", "\\xff", "unfinished"]
    assert [line["event"] for line in run.logs] == said
    assert capsys.readouterr().out == "\n".join(said)


def test_results_must_fit(airflow_task: AirflowTask) -> None:
    """A result that can't be in an XCom ends the fan-out, as it ends the task; inside an item it may be anything."""
    inner = parallel_task(n_jobs=1)(lambda _: object())
    with airflow_task() as run:
        with pytest.raises(TypeError, match="The result of item 1 can't be in an XCom"):
            parallel_task(n_jobs=2)(lambda n: object() if n else n).map([0, 1])
        assert "return_value" not in run.xcoms
        assert parallel_task(n_jobs=2)(lambda n: len(inner.map([n, n]))).map([1, 2]) == [2, 2]
    assert run.xcoms["return_value"] == [2, 2]


def test_what_a_task_downstream_gets(airflow_task: AirflowTask) -> None:
    """The XCom is serialized and loaded: numbers as keys come back as texts, tuples as they were."""
    with airflow_task() as run:
        assert parallel_task(n_jobs=2)(lambda n: {n: (n, n)}).map([1, 2]) == [{1: (1, 1)}, {2: (2, 2)}]
        parallel_task(n_jobs=2)(lambda n: n).map([])
        assert run.xcoms["return_value"] == []
        parallel_task(n_jobs=2)(lambda n: {n: (n, n)}).map([1, 2])
    assert run.xcoms["return_value"] == [{"1": (1, 1)}, {"2": (2, 2)}]


def test_warnings(airflow_task: AirflowTask) -> None:
    """Warnings are logged as in a task, and `pytest.warns` around the `with` sees those of the test's own process."""

    def warns(n: int) -> int:
        warnings.warn(f"low on {n}", stacklevel=1)
        return n

    with pytest.warns(UserWarning, match="low on") as seen, airflow_task() as run:  # noqa: PT031
        warns(0)
        parallel_task(backend="threading", n_jobs=2)(warns).map([1, 2])
        parallel_task(backend="multiprocessing", n_jobs=2)(warns).map([3, 4])
        with pytest.warns(UserWarning, match="low on 5"):
            warns(5)
    assert sorted(str(warning.message) for warning in seen) == ["low on 0", "low on 1", "low on 2"]
    told = [(line["event"], line["level"]) for line in run.logs if "low on" in line["event"]]
    assert sorted(told) == [(f"low on {n}", "warning") for n in range(5)]


def test_failures(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """The XCom `failures` is what the fan-out has pushed."""
    with airflow_task() as run:
        assert shop.tolerant.map([0, 1, 2]) == [0, None, 2]
    (failure,) = run.xcoms["failures"]
    assert (failure["index"], failure["error_type"], failure["message"]) == (1, "ValueError", "sold out")


def test_per_worker(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Resources are entered in the workers."""
    with airflow_task():
        assert shop.with_resource.map(range(6)) == [True] * 6


@pytest.mark.parametrize("backend", ["multiprocessing", "loky"])
def test_kill_worker(airflow_task: AirflowTask, backend: str) -> None:
    """The worker that begins the item is killed once; the others' results stand, and the item runs again."""
    item = parallel_task(n_jobs=2, batch_size=1, backend=backend)(lambda n: n)
    with airflow_task() as run:
        run.kill_worker(item=1)
        assert item.map(range(4)) == [0, 1, 2, 3]
    assert any("ended by SIGKILL while it ran item 1" in line["event"] for line in run.logs)


def test_kill_worker_of_an_item_that_kills_again(airflow_task: AirflowTask) -> None:
    """With the kit's kill and one of its own the item has killed two workers, and is a failed item."""

    def ends(n: int) -> int:
        return os._exit(9) if n == 1 else n

    with airflow_task() as run:
        run.kill_worker(item=1)
        with pytest.raises(WorkerLostError, match="item 1"):
            parallel_task(n_jobs=2, batch_size=1)(ends).map(range(4))


def test_kill_worker_of_no_item(airflow_task: AirflowTask) -> None:
    """Where no worker process begins that item, the test fails and says so."""
    heading = r"^A worker was to be killed, and none was:\n- no worker process began item 7"
    with pytest.raises(AssertionError, match=heading), airflow_task() as run:
        run.kill_worker(item=7)
        parallel_task(n_jobs=2)(lambda n: n).map(range(4))


def test_kill_worker_of_a_wrong_item(airflow_task: AirflowTask) -> None:
    """An item before the first is refused at once."""
    with airflow_task() as run, pytest.raises(ValueError, match=r"item=-1"):
        run.kill_worker(item=-1)


def test_kill_worker_without_processes(airflow_task: AirflowTask) -> None:
    """In a session without worker processes a test that kills one is skipped."""
    every_run.use("threading")
    try:
        with pytest.raises(SkipTest, match="--fan-out=threading has no worker processes"), airflow_task() as run:
            run.kill_worker(item=0)
    finally:
        every_run.use(None)


def state() -> list[object]:
    """What the kit changes for its length."""
    known = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(one for one in known if isinstance(one, logging.Logger))]
    return [
        dict(os.environ),
        structlog.get_config(),
        [(one.name, one.level, list(one.handlers), one.propagate, one.disabled) for one in loggers if one.level],
        [handler.__dict__.get("_closed") for handler in logging.root.handlers],
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        warnings.showwarning,
        vars(settings).copy(),
        vars(task_runner).get("SUPERVISOR_COMMS", "none"),
        set(airflow_internals.secrets_masker().patterns),
        airflow_internals.secrets_masker().replacer,
        dict(airflow_internals.log_levels().items()),
    ]


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_all_is_as_before(airflow_task: AirflowTask, shop: ModuleType, error: type[BaseException] | None) -> None:
    """Environment, logging, masks, streams, settings, supervisor and context are as before, after an error too."""
    with airflow_task():  # which loads what is loaded late
        pass
    before = state()
    try:
        with airflow_task(variables={"currency": "EUR", "shop_password": "hunter-two"}):
            shop.price.map(["apples"])
            shop.login.map(["ann"])
            if error is not None:
                raise error
    except BaseException as raised:
        assert type(raised) is error
    assert state() == before
    with pytest.raises(RuntimeError):
        get_current_context()


def test_nested_use(airflow_task: AirflowTask) -> None:
    """One inside the other is refused, and the outer one goes on."""
    with airflow_task() as run:
        with pytest.raises(RuntimeError, match="in use already"), airflow_task():
            pass
        assert parallel_task(n_jobs=2)(lambda n: n).map([1, 2]) == [1, 2]
    assert run.xcoms["return_value"] == [1, 2]


def test_the_database_is_out_of_reach(airflow_task: AirflowTask) -> None:
    """The database's address is the unusable one that tasks have, and no session can be made."""

    def look(_: int) -> list[str]:
        try:
            settings.Session()  # type: ignore[misc]
        except RuntimeError as error:
            return [os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], str(error)]
        return []

    with airflow_task():
        (found, here) = parallel_task(n_jobs=2)(look).map([1, 2])[0], look(0)
    assert found == here
    assert here[0] == "airflow-db-not-allowed:///"
    assert "Database access is disabled" in here[1]


def test_nothing_in_the_home_of_airflow(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Airflow itself makes an empty folder for logs when it is imported; the kit adds nothing."""
    with airflow_task(variables={"currency": "EUR"}) as run:
        shop.price.map(["apples", "bread"])
        run.execute(shop.DAG.get_task("list_products"))
    assert [str(file.relative_to(HOME)) for file in HOME.rglob("*")] == ["logs"]


def test_requests_that_the_kit_does_not_know(airflow_task: AirflowTask) -> None:
    """They have the error of a supervisor that doesn't know them, with a word on the kit."""
    with airflow_task():
        supervisor = airflow_internals.supervisor()
        with pytest.raises(airflow_internals.AirflowRuntimeError, match="Unhandled request: GetDRCount, which"):
            supervisor.send(comms.GetDRCount(dag_id="products"))


def test_first_run_of_its_dag(airflow_task: AirflowTask) -> None:
    """The made-up run has no earlier one, is running, and knows no asset."""
    with airflow_task(context={"run_id": "r1"}):
        context = get_current_context()
        assert not context["prev_start_date_success"]
        assert context["ti"].get_dagrun_state("unit_test", "r1") == "running"
        assert context["ti"].get_previous_dagrun() is None


def test_patches_reach_forked_workers(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """What a test has patched is patched in workers that are forked from it."""
    with mock.patch.object(shop.Variable, "get", return_value="tulips"), airflow_task():
        assert shop.price.map(["apples", "bread"]) == ["apples in tulips", "bread in tulips"]


def test_patches_do_not_reach_fresh_workers(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A fresh worker imports what it needs itself, without the patch."""

    def exists(path: str) -> bool:
        return Path(path).exists()

    with mock.patch.object(Path, "exists", return_value="patched"), airflow_task():
        found = parallel_task(n_jobs=2, backend="loky")(exists).map(["/", "/nowhere"])
    assert found == [True, False]


def as_a_worker_does(prepare: Callable[[], None]) -> None:
    """Run what a worker runs first, and stay."""
    prepare()
    time.sleep(60)


def test_a_worker_that_is_left(airflow_task: AirflowTask) -> None:
    """A worker that still runs fails the test, by its id and command."""
    worker: Any = None
    with pytest.raises(AssertionError) as caught, airflow_task() as run:
        worker = get_context("fork").Process(target=as_a_worker_does, args=(run._in_workers(),))
        worker.start()
        while not begun(run._folder):
            time.sleep(0.01)
    worker.kill()
    worker.join()
    assert str(caught.value).startswith(f"The run has left something behind:\n- process {worker.pid}, ")


def test_what_the_test_has_started(airflow_task: AirflowTask) -> None:
    """Processes, shared memory and sockets of the test's own may outlive the `with`."""
    with ExitStack() as own, airflow_task():
        own.enter_context(ProcessPoolExecutor(1)).submit(abs, -1).result()
        own.enter_context(Manager())
        process = own.enter_context(subprocess.Popen(["sleep", "60"]))
        own.callback(process.kill)
        memory = SharedMemory(create=True, size=8)
        own.callback(memory.unlink)
        own.callback(memory.close)
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET):
            own.enter_context(end)
        assert parallel_task(n_jobs=2)(lambda n: n).map([1, 2]) == [1, 2]


def test_what_else_is_left(airflow_task: AirflowTask) -> None:
    """So do a folder with its lock, shared memory, and a socket of a run."""
    from airflow_joblib.taskflow.relay.server import Relay

    relay, memory = Relay(bytes, print), -1
    try:
        with pytest.raises(AssertionError) as caught, airflow_task():
            relay.__enter__()
            memory = os.memfd_create("airflow-joblib")
    finally:
        os.close(memory)
        relay.__exit__()
    text = str(caught.value)
    assert all(part in text for part in ("shared memory /memfd:airflow-joblib", "open socket:", leftovers.PREFIX))


def test_the_failure_of_the_test_comes_first(airflow_task: AirflowTask) -> None:
    """Where the test itself has failed, its own exception leaves the `with`."""
    with pytest.raises(KeyError), airflow_task() as run:
        run.kill_worker(item=0)
        raise KeyError
