"""An Airflow that lacks a name which is no public API: one sentence says so, and no item runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.taskflow import airflow_internals, airflow_names

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("changed_airflow.py")
PLACES = [places[0] for places in airflow_names.places()]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What is said without each of the names, in the cases of `changed_airflow.py`."""
    found: dict[str, dict[str, Any]] = {}
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home"))}

    def run(case: str) -> dict[str, Any]:
        if case not in found:
            command = [sys.executable, str(SCRIPT), case]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[case] = json.loads(done.stdout.splitlines()[-1])
        return found[case]

    return run


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", ["parse", "task"])
def test_missing_name(said: Callable[[str], dict[str, Any]], case: str, place: str) -> None:
    """Without any one of the names a call in a DAG, and a run in a task, is an error of one sentence; nothing runs."""
    found = said(case)[place]
    assert found["ran"] == []
    ours, theirs = version("airflow-joblib"), version("apache-airflow-core")
    assert found["said"].startswith(f"ParallelTaskError: airflow-joblib {ours} can't work with Airflow {theirs}, ")
    assert any(_as_named(places[0]) in found["said"] for places in airflow_names.places() if place in places)
    assert found["said"].endswith(".")
    assert ". " not in found["said"]


def _as_named(place: str) -> str:
    module, _, name = place.partition(":")
    return f"no {module}.{name}:" if name else f"no module {module}:"


def test_all_there(said: Callable[[str], dict[str, Any]]) -> None:
    """With all of them the same call makes a task, so that the test above means something."""
    assert said("parse")[""] == {"said": "", "ran": []}


def test_everything_is_there() -> None:
    """The Airflow that is installed has every name, those of modules that a DAG file doesn't load among them."""
    airflow_internals.check(load=True)
    names = (*airflow_names.NAMES, *airflow_names.FOR_CHECK)
    assert all(getattr(airflow_internals, name) is not None for name in names)


@pytest.mark.parametrize("name", airflow_names.FOR_CHECK)
def test_what_the_check_of_files_needs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An Airflow that lacks what lists DAG files runs parallel tasks; who needs the name is told of it."""
    monkeypatch.setattr(airflow_internals, "_unchecked", airflow_names.places())
    for place in airflow_names.FOR_CHECK[name]:
        module, _, attribute = place.partition(":")
        with suppress(ModuleNotFoundError):
            for each in (attribute, "__getattr__"):  # by which some are found elsewhere
                monkeypatch.delitem(vars(importlib.import_module(module)), each, raising=False)
    airflow_internals.check(load=True)
    with pytest.raises(ParallelTaskError, match=f"which has {_as_named(airflow_names.FOR_CHECK[name][0])}"):
        getattr(airflow_internals, name)


def test_unknown_name() -> None:
    """What is in no table is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="airflow_internals' has no attribute 'Nothing'"):
        airflow_internals.Nothing
