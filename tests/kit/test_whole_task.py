"""Whole tasks in a unit test: the operator, its templates and callbacks, XComs in and out."""

# Airflow's Context has all of these in a task, and its type says so of none.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.definitions.param import ParamsDict

from airflow_joblib import parallel_task, testing
from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import ModuleType

    AirflowTask = Callable[..., AbstractContextManager[testing.TaskRun]]


def task_of(function: Any, *args: Any, **options: Any) -> Any:
    """Return the task that a call makes in a DAG."""
    with DAG("of_test", schedule=None):
        return parallel_task(n_jobs=2, **options)(function)(*args)


def test_items_of_several_parameters(airflow_task: AirflowTask) -> None:
    """Items that are spread over parameters come from a task upstream, and the XComs see them as they were given."""

    def update(record_id: int, value: str) -> str:
        return f"{record_id}={value:s}"

    with DAG("of_test", schedule=None):
        pairs = task(task_id="pairs")(lambda: None)()
        made: Any = parallel_task(n_jobs=2, over=("record_id", "value"), max_failures=1)(update)(items=pairs)
    with airflow_task() as run:
        items = [[1, "a"], {"record_id": 2, "value": 3}]
        assert run.execute(made.operator, upstream={"pairs": items}) == ["1=a", None]
    assert [failure["item"] for failure in run.xcoms["failures"]] == ["{'record_id': 2, 'value': 3}"]


def test_lists_of_a_mapped_instance(airflow_task: AirflowTask) -> None:
    """What an instance of a mapped task is given in the place of items names ``over``, where it may be meant so."""

    def update(record_id: int, value: str) -> str:
        return f"{record_id}={value}"

    ids = task(task_id="ids")(lambda: None)()
    made = task_of(update, ids, "a")
    with airflow_task() as run, pytest.raises(TypeError, match=r'over=\("record_id", "value"\)'):
        run.execute(made.operator, upstream={"ids": 1})


def test_templates_and_xcoms(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A template of the call is rendered with the context, and what a task upstream has returned are the items."""
    with airflow_task(context={"params": {"currency": "CHF"}}) as run:
        price = shop.DAG.get_task("price")
        assert run.execute(price, upstream={"list_products": ["tea", "rice"]}) == ["tea in CHF", "rice in CHF"]
    assert run.xcoms["return_value"] == ["tea in CHF", "rice in CHF"]
    assert run.xcoms["fan_out"]["runs"][0]["items"]["done"] == 2
    assert [line["item"] for line in run.logs if line["event"] == "price of rice"] == [1]


def test_one_after_another(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Tasks that were executed before are upstream of those that follow, as in a DAG run."""
    with airflow_task(context={"params": {"currency": "EUR"}}) as run:
        assert run.execute(shop.DAG.get_task("list_products")) == ["apples", "bread"]
        assert run.execute(shop.DAG.get_task("price")) == ["apples in EUR", "bread in EUR"]
        assert run.execute(shop.DAG.get_task("count")) == "2 on 2026-01-01"


def test_mapped(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """Of a mapped task each instance is executed by its index."""
    with airflow_task() as run:
        assert run.execute(shop.DAG.get_task("mapped"), map_index=1) == ["milk in EUR", "rice in EUR"]
        assert run.execute(shop.DAG.get_task("mapped"), map_index=0) == ["tea in EUR"]


def test_context_that_is_given(airflow_task: AirflowTask) -> None:
    """What the test gives on top of the context is in templates, parameters and fan-outs of a whole task."""

    def dated(n: int, text: str, ds: str, params: Any) -> list[object]:
        return [ds, get_current_context()["ds"], params["limit"], params["most"], text]

    item: Any = parallel_task(n_jobs=2)(dated)
    with DAG("of_test", schedule=None, params=ParamsDict({"limit": 3, "most": 9})):
        made = item([1, 2], text="{{ ds }}")
    with airflow_task(context={"ds": "2026-06-01", "params": {"limit": 5}}) as run:
        for _ in range(2):
            assert run.execute(made) == [["2026-06-01", "2026-06-01", 5, 9, "2026-06-01"]] * 2


def test_failure_before_its_execute(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A template that fails, and a mapped task without an index, raise just that: no process is left."""
    with pytest.raises(ZeroDivisionError), airflow_task() as run:
        run.execute(task_of(lambda n, text: n, [1, 2], "{{ 1 / 0 }}", task_id="items"))
    with airflow_task() as run:
        with pytest.raises(ZeroDivisionError):
            run.execute(task_of(lambda n, text: n, [1, 2], "{{ 1 / 0 }}", task_id="items"))
        with pytest.raises(Exception, match="map"):
            run.execute(shop.DAG.get_task("mapped"))


def test_what_is_no_task(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """The id of a task, and an instance that a mapped task hasn't, are errors that say so."""
    with airflow_task() as run:
        with pytest.raises(TypeError, match=r"such as dag\.get_task\('price'\).* this is a str"):
            run.execute("price")
        with pytest.raises(IndexError, match="'mapped' has 2 mapped instances, so map_index can't be 9"):
            run.execute(shop.DAG.get_task("mapped"), map_index=9)


def test_variables_of_a_task(airflow_task: AirflowTask, shop: ModuleType) -> None:
    """A task that is no fan-out runs as well, and sets and deletes Variables."""
    with airflow_task(variables={"currency": "EUR"}) as run:
        assert run.execute(shop.DAG.get_task("stored")) == "written"


def test_context_parameters(airflow_task: AirflowTask) -> None:
    """A context parameter that the function names is filled in."""

    def item(n: int, run_id: str, ds: str) -> list[object]:
        return [n, run_id, ds]

    made = task_of(item, [1, 2])
    with airflow_task(context={"run_id": "r9"}) as run:
        assert run.execute(made) == [[1, "r9", "2026-01-01"], [2, "r9", "2026-01-01"]]


def test_map_in_the_body_of_a_task(airflow_task: AirflowTask) -> None:
    """Where a task's body calls `.map`, the results are the body's own; the XCom is what it returns."""
    with DAG("of_test", schedule=None):

        @task
        def body() -> int:
            return len(parallel_task(n_jobs=2)(lambda n: object()).map([1, 2]))

        made = body()
    with airflow_task() as run:
        assert run.execute(made) == 2
        assert parallel_task(n_jobs=2)(lambda n: n).map([1, 2]) == [1, 2]
        assert run.xcoms["return_value"] == [1, 2]


def test_failure(airflow_task: AirflowTask) -> None:
    """The exception that leaves the task is raised, with the item in its note."""

    def fails(n: int) -> int:
        raise ValueError("sold out")

    with airflow_task() as run, pytest.raises(ValueError, match="sold out") as caught:
        run.execute(task_of(fails, [1, 2]))
    assert any("Raised by item" in note for note in caught.value.__notes__)


def test_skipped(airflow_task: AirflowTask) -> None:
    """A task that was skipped is an AirflowSkipException."""

    def skips(n: int) -> int:
        raise airflow_internals.AirflowSkipException("none today")

    with airflow_task() as run, pytest.raises(airflow_internals.AirflowSkipException):
        run.execute(task_of(skips, [1, 2]))


def test_killed_worker(airflow_task: AirflowTask) -> None:
    """A worker of a whole task can be killed too."""
    made = task_of(lambda n: n, list(range(4)), batch_size=1, task_id="items")
    with airflow_task() as run:
        run.kill_worker(item=2)
        assert run.execute(made) == [0, 1, 2, 3]


def test_second_try(
    airflow_task: AirflowTask, shop: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `with` of the same task instance is its retry: with a checkpoint it runs the rest."""
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", str(tmp_path / "checkpoints"))
    traces = tmp_path / "traces"
    traces.mkdir()
    with airflow_task(), pytest.raises(ValueError, match="the first time"):
        shop.kept.map([0, 1, 2], str(traces))
    ran = {file.name.partition("-")[0] for file in traces.iterdir()}
    with airflow_task(context={"try_number": 2}):
        assert shop.kept.map([0, 1, 2], str(traces)) == [0, 1, 2]
    times = [file.name.partition("-")[0] for file in traces.iterdir()]
    assert times.count("2") == 2
    assert all(times.count(item) == 1 for item in ran - {"2"})
    assert not [file for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()]


#: What :func:`look_up` returns, and for which items it was called.
FOUND: dict[int, object] = {}
CALLED: list[int] = []


def look_up(n: int) -> object:
    CALLED.append(n)
    return FOUND[n]


@pytest.mark.parametrize("unfit", [math.nan, b"bytes"])
def test_unfit_result_is_not_kept(
    unfit: object, airflow_task: AirflowTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits no XCom fails the task and is not kept: once the function is mended a retry runs that item again."""
    monkeypatch.setenv("AIRFLOW__JOBLIB__CHECKPOINT_PATH", str(tmp_path / "checkpoints"))
    CALLED.clear()
    FOUND.update({0: 0, 1: unfit})
    kept = parallel_task(n_jobs=1, batch_size=1, checkpoint=True)(look_up)
    with airflow_task(), pytest.raises(TypeError, match="The result of item 1 can't be in an XCom"):
        kept.map([0, 1])
    FOUND[1] = 1
    with airflow_task(context={"try_number": 2}):
        assert kept.map([0, 1]) == [0, 1]
    assert CALLED == [0, 1, 1]
