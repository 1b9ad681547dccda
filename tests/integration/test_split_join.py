"""``split`` and ``join`` in a DAG: the tasks they make."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, XComArg, task

from airflow_joblib import InvalidOptionError, join, parallel_task, split

pytestmark = pytest.mark.integration


@task
def list_items() -> list[str]:
    return ["a", "b"]


@parallel_task
def scale(item: str, width: int = 200) -> str:
    return f"{item}{width}"


@pytest.fixture
def dag() -> Any:
    with DAG("test", schedule=None) as made:
        yield made


def test_make_tasks_in_order(dag: DAG) -> None:
    """Cut, mapped and joined, each is downstream of the one before, and named after its function."""
    joined = join(scale.partial(width=1).expand(item=split(list_items(), into=2)))
    assert isinstance(joined, XComArg)
    upstream = {name: node.upstream_task_ids for name, node in dag.task_dict.items()}
    assert upstream == {"list_items": set(), "split": {"list_items"}, "scale": {"split"}, "join": {"scale"}}


def test_from_a_list(dag: DAG) -> None:
    """A list that the DAG file has is cut in one line too, by a task whose XCom is the chunks."""
    joined = join(scale.expand(item=split(["a", "b", "c"], into=2)))
    assert isinstance(joined, XComArg)
    cut: Any = dag.task_dict["split"]
    assert cut.python_callable(*cut.op_args, **cut.op_kwargs) == [["a"], ["b", "c"]]
    assert dag.task_dict["scale"].upstream_task_ids == {"split"}


def test_twice_in_a_dag(dag: DAG) -> None:
    """A second call in the same DAG gets a name of its own, as with any TaskFlow function."""
    split(list_items(), into=2)
    split(list_items(), size=3)
    assert {"split", "split__1"} <= set(dag.task_dict)


def test_task_options(dag: DAG) -> None:
    """Options of a task go to the task."""
    split(list_items(), into=2, task_id="cut", pool="small")
    join([list_items(), list_items()], task_id="collect", trigger_rule="none_failed")
    assert dag.task_dict["cut"].pool == "small"
    assert dag.task_dict["collect"].trigger_rule == "none_failed"
    assert dag.task_dict["collect"].upstream_task_ids == {"list_items__1", "list_items__2"}


def test_bad_number_at_parse_time(dag: DAG) -> None:
    """A wrong number is an error while the DAG is parsed."""
    with pytest.raises(InvalidOptionError, match="Give one of the two"):
        split(list_items())  # type: ignore[call-overload]
    assert not dag.task_dict.keys() - {"list_items"}
