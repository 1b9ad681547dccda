"""A worker is the task, under a real executor: some ninety functions of a DAG file, in a plain task and fanned out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.helpers import result

if TYPE_CHECKING:
    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

#: One DAG file of both, whose functions the unit tests run without Airflow.
FUNCTIONS = [Path(__file__).parents[1] / "unit" / "pools" / name for name in ("dag_file.py", "dag_file_state.py")]
TASKS = """
import structlog
from airflow.sdk import Variable, dag, get_current_context, task

from airflow_joblib import parallel_task


def variable(n):
    return Variable.get("of_environment"), Variable.get("not there", default=None)


def context(n):
    found = get_current_context()
    return found["run_id"], str(found.get("logical_date")), dict(found["params"]), found["dag_run"].dag_id


def loggers(n):
    return logging.getLogger("shop.loud").getEffectiveLevel(), structlog.is_configured()


NAMED = {function.__name__: function for function in [*ALL, variable, context, loggers]}


def ran(call):
    try:
        return repr(call())
    except Exception as error:
        return f"Error: {type(error).__name__}: {error}"


@task
def plain():
    return {name: [ran(lambda: function(n)) for n in (1, 2)] for name, function in NAMED.items()}


def both(function):
    return [ran(lambda: function(n)) for n in (1, 2)]


@task
def mapped_in_a_task():
    return dict(zip(NAMED, parallel_task(n_jobs=2, batch_size=1)(both).map(list(NAMED.values()))))


@parallel_task(n_jobs=2, batch_size=1)
def fanned_out(call):
    name, n = call
    return ran(lambda: NAMED[name](n))


@dag(schedule=None)
def parity():
    plain()
    mapped_in_a_task()
    fanned_out([(name, n) for n in (1, 2) for name in NAMED])


parity()
"""


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, added_dags: Path) -> DagRunResult:
    dag_file = added_dags / "parity.py"
    dag_file.write_text("\n\n".join([*(file.read_text() for file in FUNCTIONS), TASKS]))
    airflow.wait_for_dags("parity")
    return airflow.run_dag("parity")


@pytest.fixture
def in_a_task(airflow: AirflowInstance, run: DagRunResult) -> dict[str, list[str]]:
    """What a plain ``@task`` computes: by function, for one and for two."""
    found: dict[str, list[str]] = result(airflow, run, "plain")
    return found


def test_the_functions_do_something(in_a_task: dict[str, list[str]]) -> None:
    """In a plain task each function gives a result, so that the tests below mean something."""
    assert len(in_a_task) >= 90
    assert not {name: texts for name, texts in in_a_task.items() if any("Error: " in text for text in texts)}


def test_map_in_a_task(airflow: AirflowInstance, run: DagRunResult, in_a_task: dict[str, list[str]]) -> None:
    """Where the task's body calls `.map`, workers compute what the body computes."""
    assert differences(result(airflow, run, "mapped_in_a_task"), in_a_task) == {}


def test_parallel_task(airflow: AirflowInstance, run: DagRunResult, in_a_task: dict[str, list[str]]) -> None:
    """As a task of its own a fan-out computes what a plain task computes."""
    found = result(airflow, run, "fanned_out")
    half = len(found) // 2
    by_name = {name: [one, two] for name, one, two in zip(in_a_task, found[:half], found[half:], strict=True)}
    assert differences(by_name, in_a_task) == {}


@pytest.mark.parametrize("task_id", ["mapped_in_a_task", "fanned_out"])
def test_workers_were_forked(airflow: AirflowInstance, run: DagRunResult, task_id: str) -> None:
    """None of those fan-outs had fresh workers."""
    assert "workers are fresh processes" not in airflow.log(run.dag_id, run.run_id, task_id)


def differences(found: dict[str, Any], wanted: dict[str, list[str]]) -> dict[str, tuple[Any, list[str]]]:
    """Return by function what differs."""
    assert found.keys() == wanted.keys()
    return {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}
