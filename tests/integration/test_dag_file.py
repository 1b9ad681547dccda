"""DAG files under a real executor, which loads them under a name that no worker can import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

from tests.integration.helpers import AIRFLOW, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

#: Airflow 3.1's own process that parses a file does not outlive this one.
PATCHED = ("patched",) if AIRFLOW >= (3, 2) else ()
DAG_IDS = ("by_value", "early_fork", "forms", "own_error_ends_task", *PATCHED, "start_methods")
FIFTY = list(range(50))

CLOSURE_OVER_CONNECTION = """
import sqlite3
from airflow.sdk import dag
from airflow_joblib import parallel_task

def saver(connection):
    @parallel_task
    def save(number):
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
    return save

@dag(schedule=None)
def closure_over_connection():
    saver(sqlite3.connect(":memory:"))([1, 2, 3])

closure_over_connection()
"""

ZIPPED = {
    "zipped.py": """
from airflow.sdk import dag
from airflow_joblib import parallel_task
from zipped_helpers import RATES, Order, priced

@parallel_task(n_jobs=2, backend="loky")
def fresh(number):
    order = Order(number)
    return [priced(order), RATES["EUR"], isinstance(order, Order), type(order).__module__]

forked = fresh.override(backend="auto", task_id="forked")

@dag(schedule=None)
def zipped():
    fresh(list(range(4)))
    forked(list(range(4)))

zipped()
""",
    "zipped_helpers.py": """
from dataclasses import dataclass

RATES = {"EUR": 2}

@dataclass
class Order:
    number: int

def priced(order):
    return order.number * RATES["EUR"]
""",
}


@pytest.fixture(scope="module")
def run_of(
    airflow: AirflowInstance, add_dag: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], DagRunResult]:
    """Give the run of a DAG, once it is over; all have been triggered together."""
    airflow.api.set_variable("started", "hello")
    conf = {"folder": str(tmp_path_factory.mktemp("forms"))}
    runs = {dag_id: airflow.trigger(add_dag(dag_id), conf) for dag_id in DAG_IDS}
    return lambda dag_id: airflow.wait(dag_id, runs[dag_id])


@pytest.fixture(scope="module")
def forms(run_of: Callable[[str], DagRunResult]) -> DagRunResult:
    """One run of the DAG with every form."""
    return run_of("forms")


def test_everything_in_the_file_travels(airflow: AirflowInstance, run_of: Callable[[str], DagRunResult]) -> None:
    """Helpers, classes, constants, enumerations, named tuples and exceptions, both ways, with their identity."""
    run = run_of("by_value")
    assert result(airflow, run, "objects_come_back") == {"are_points": True, "right": True}
    values = [(0, 1, "links"), (10, 3, "links"), (20, 5, "links")]
    assert result(airflow, run, "all_sorts") == {"members": True, "pairs": True, "values": values, "elsewhere": True}
    error = result(airflow, run, "own_error")
    assert (error["number"], error["code"], error["text"]) == (3, "E3", "number 3 is refused")
    assert "item 3" in error["notes"]


@pytest.mark.skipif(not PATCHED, reason="Airflow 3.1 can't parse the file.")
def test_file_that_changes_the_process(airflow: AirflowInstance, run_of: Callable[[str], DagRunResult]) -> None:
    """Results, Variables and logs come where the file has replaced an encoder, ignores SIGCHLD, or set time-outs."""
    run = run_of("patched")
    assert result(airflow, run, "right") is True
    for backend in ("auto", "loky", "threading"):
        assert "number 3" in airflow.log(run.dag_id, run.run_id, f"work_{backend}")
    assert result(airflow, run, "refused") == [0, None]
    assert "can't be in an XCom" in airflow.log(run.dag_id, run.run_id, "refused")


def test_items_exception_ends_the_task(airflow: AirflowInstance, run_of: Callable[[str], DagRunResult]) -> None:
    """The task's log shows the exception as itself, the item, and the line in the DAG file."""
    run = run_of("own_error_ends_task")
    assert [task.state for task in run.tasks] == ["failed"]
    log = airflow.log(run.dag_id, run.run_id, "refuse")
    assert all(text in log for text in ("RefusedError", "three is refused", "item 3", "own_error_ends_task.py"))


def test_what_cannot_travel_is_an_import_error(
    airflow: AirflowInstance, add_source: Callable[[str, str], Path]
) -> None:
    """A connection in a closure is refused while the file is parsed, by its path and type."""
    add_source("closure_over_connection.py", CLOSURE_OVER_CONNECTION)
    error = airflow.wait_for_import_error("closure_over_connection.py")
    assert "NotPicklableError" in error
    assert "save → closure 'connection'" in error
    assert "sqlite3.Connection" in error


def test_zipped_dag(airflow: AirflowInstance, added_dags: Path) -> None:
    """A module beside the DAG in its archive, which no worker finds by its name, is there in fresh workers too."""
    with ZipFile(added_dags / "zipped.part", "w") as archive:
        for name, source in ZIPPED.items():
            archive.writestr(name, source)
    (added_dags / "zipped.part").rename(added_dags / "zipped.zip")  # whole, whenever Airflow looks
    airflow.wait_for_dags("zipped")
    run = airflow.run_dag("zipped")
    wanted = [[2 * number, 2, True, "zipped_helpers"] for number in range(4)]
    assert result(airflow, run, "fresh") == wanted
    assert result(airflow, run, "forked") == wanted
    (added_dags / "zipped.zip").unlink()


@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("by_name", [n + 1 for n in FIFTY]),
        ("by_name_with_options", [n + 2 for n in FIFTY]),
        ("under_task", [n * 3 for n in FIFTY]),
        ("over_task_renamed", [-n for n in FIFTY]),
        ("as_dict", [{"number": 1}, {"number": 2}]),
        ("second", [9, 8, 7]),
        ("templated", ["forms-1", "forms-2"]),
        ("total", [1226, 1227]),
        ("shifted_overridden", [n + 100 for n in FIFTY]),
        ("after_mapped", [3, 4, 5]),
        ("of_nothing", []),
        ("inside_task", [6, 7, 8]),
        ("group.by_name", [n + 1 for n in FIFTY]),
    ],
)
def test_form(airflow: AirflowInstance, forms: DagRunResult, task_id: str, expected: Any) -> None:
    """Each form of the decorator gives the list of results, in input order."""
    assert result(airflow, forms, task_id) == expected


def test_expand(airflow: AirflowInstance, forms: DagRunResult) -> None:
    """Each mapped instance takes one list and fans it out."""
    assert [result(airflow, forms, "shifted", index) for index in range(2)] == [[2, 3], [4]]


def test_expand_kwargs(airflow: AirflowInstance, forms: DagRunResult) -> None:
    """Each mapped instance takes one mapping of arguments; an empty list gives one."""
    assert [result(airflow, forms, "shifted_kwargs", index) for index in range(2)] == [[2, 3], []]


def test_context_parameters(airflow: AirflowInstance, forms: DagRunResult) -> None:
    """Context parameters have in a worker the values they have in the task."""
    shared = {"run_id": forms.run_id, "params": {"colour": "red"}}
    results = result(airflow, forms, "with_context")
    assert all(entry["params"].pop("folder") for entry in results)  # of the run's conf
    assert all(entry.pop("key").startswith("forms__with_context__") for entry in results)
    assert results == [{"number": 1, **shared}, {"number": 2, **shared}]


def test_options_of_an_inner_task_are_taken_over(airflow: AirflowInstance, forms: DagRunResult) -> None:
    """``@parallel_task`` above ``@task(retries=3)`` has the three retries."""
    path = ("dags", forms.dag_id, "tasks", "over_task_renamed")
    assert airflow.api.get(*path)["retries"] == 3


def test_items_run_in_two_processes(airflow: AirflowInstance, forms: DagRunResult) -> None:
    """Fifty items are spread over the two workers that the configuration asks for."""
    assert len(set(result(airflow, forms, "where"))) == 2


@pytest.mark.nightly
def test_time_of_no_ops(
    airflow: AirflowInstance, add_dag: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """How long a thousand items that do nothing take, beside an empty task: printed, for a person to judge."""
    run = airflow.run_dag(add_dag("no_ops"))
    assert result(airflow, run, "no_op") == list(range(1000))
    no_ops, empty = run.task("no_op").seconds, run.task("empty").seconds
    with capsys.disabled():
        print(f"\n1,000 no-op items: {no_ops:.2f} s; an empty task: {empty:.2f} s")


def test_start_methods(airflow: AirflowInstance, run_of: Callable[[str], DagRunResult]) -> None:
    """Workers that are spawned, or come from a fork server, run, ask and log as forked ones do."""
    run = run_of("start_methods")
    for method in ("fork", "spawn", "forkserver"):
        found = result(airflow, run, method)
        fresh = {"airflow": found.pop("airflow"), "main": found.pop("main")}
        if method != "fork":  # which has what its parent has
            assert fresh == {"airflow": False, "main": False}
        assert found == {"workers": 2, "points": True, "asked": ["hello"] * 2, "variable": "default"}
        events = airflow.log_events(run.dag_id, run.run_id, method)
        said = [(event["event"], event["item"]) for event in events if event["logger"] == "shop.orders"]
        assert sorted(said) == [("informed of 0", 0), ("informed of 1", 1)]


@pytest.mark.parametrize(("task_id", "map_index"), [("templated", -1), ("mapped", 0), ("mapped", 1)])
def test_threads_while_arguments_are_loaded(
    airflow: AirflowInstance, run_of: Callable[[str], DagRunResult], task_id: str, map_index: int
) -> None:
    """Workers are forked from what the task was before, with a warning; they ask, log and know their task as any."""
    run = run_of("early_fork")
    found = result(airflow, run, task_id, map_index)
    shared = {"variable": "hello", "run_id": True, "set": ["at the top level"], "task_id": task_id}
    shared |= {"map_index": map_index, "used": "used" if task_id == "templated" else ""}
    items = [3, 4] if map_index == 1 else [1, 2]
    assert found == [{"item": item, **shared} for item in items]
    events = airflow.log_events(run.dag_id, run.run_id, task_id, map_index)
    levels = [event["level"] for event in events if "before the task's arguments were loaded" in event["event"]]
    assert levels == ["warning"]
    said = [(event["event"], event["item"]) for event in events if event["logger"] == "shop.orders"]
    assert sorted(said) == [(f"informed of {item}", place) for place, item in enumerate(items)]


def test_which_workers_and_why(airflow: AirflowInstance, run_of: Callable[[str], DagRunResult]) -> None:
    """One line says that workers are forks of the task as it stands, or for which thread's sake they are fresh ones."""
    run = run_of("early_fork")
    assert {tuple(found["set"]) for found in result(airflow, run, "late")} == {("at the top level",)}
    body = result(airflow, run, "body")
    assert body["points"]
    lines = {"late": ["forked from this process as it stands"], "body": ["fresh processes (loky), since a fork"] * 2}
    for task_id, expected in lines.items():
        events = airflow.log_events(run.dag_id, run.run_id, task_id)
        said = [event for event in events if "workers are" in event["event"] and event["level"] == "info"]
        assert len(said) == len(expected)
        assert all(line in event["event"] for line, event in zip(expected, said, strict=True))
