"""An Airflow without a name that the kit alone needs: one sentence says so, and parallel tasks run all the same."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from airflow_joblib import ParallelTaskError
from airflow_joblib.taskflow import airflow_internals, airflow_names
from airflow_joblib.testing import task
from tests.integration.changed_airflow import Without

PLACES = airflow_names.places_for_testing()


def take_away(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Take a name out of Airflow for the length of a test."""
    module, _, name = place.partition(":")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError:  # a place of other versions
        return
    name, _, part = name.partition(".")
    if part:
        monkeypatch.setattr(owner, name, Without(getattr(owner, name), part))
        return
    for each in (name, "__getattr__"):  # by which some are made when first asked for
        if each in vars(owner):
            monkeypatch.delattr(owner, each)


@pytest.mark.parametrize("places", PLACES, ids=lambda places: places[0])
def test_missing_name(monkeypatch: pytest.MonkeyPatch, places: tuple[str, ...]) -> None:
    """The kit refuses to begin, and its sentence has the name."""
    for place in places:
        take_away(monkeypatch, place)
    with pytest.raises(ParallelTaskError, match=places[0].partition(":")[2].split(".")[0]), task():
        raise AssertionError("it has begun")
    airflow_internals.check(load=True)


def test_everything_is_there() -> None:
    """The Airflow that is installed has every name."""
    airflow_internals.check_for_testing()
    assert all(getattr(airflow_internals, name) is not None for name in airflow_names.TESTING)
