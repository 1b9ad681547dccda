"""A worker is the task, function by function, shown by the kit: some eighty of a DAG file, in a loop and fanned out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.testing import load_dag_file, task

if TYPE_CHECKING:
    from collections.abc import Callable

#: Whose functions the unit tests run without Airflow.
FOLDER = Path(__file__).parents[1] / "unit" / "pools"
MODULES = {name: load_dag_file(FOLDER / f"{name}.py") for name in ("dag_file", "dag_file_state")}
FUNCTIONS = {function.__name__: function for module in MODULES.values() for function in module.ALL}


def both(function: Callable[[int], Any]) -> str:
    """Return what a function gives for one and for two, as a text, since not all of it can be in an XCom."""
    return repr([function(1), function(2)])


@pytest.fixture(scope="module")
def fanned_out() -> dict[str, str]:
    """What workers compute: one item a function."""
    with task():
        return dict(zip(FUNCTIONS, parallel_task(n_jobs=2)(both).map(list(FUNCTIONS.values())), strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(fanned_out: dict[str, str], name: str) -> None:
    """The function gives in a worker what it gives in the task."""
    assert fanned_out[name] == both(FUNCTIONS[name])


def test_there_are_many() -> None:
    """The DAG files have their functions, so that the test above means something."""
    assert len(FUNCTIONS) >= 80
