"""The public names: complete, documented, and no more than there are."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from importlib.metadata import version

import pytest

import airflow_joblib
from airflow_joblib import exceptions
from tests.unit.helpers import EXTRAS

#: Rooms whose modules import Airflow.
OF_AIRFLOW = {"taskflow", "testing", "cli", "ui"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(airflow_joblib.__path__, "airflow_joblib.")
    if module.name.split(".")[1] not in OF_AIRFLOW
)


def test_every_name_exists() -> None:
    """Every name in ``__all__`` can be had, and ``dir`` shows it."""
    assert len(set(airflow_joblib.__all__)) == len(airflow_joblib.__all__)
    for name in airflow_joblib.__all__:
        assert getattr(airflow_joblib, name).__name__ == name
        assert name in dir(airflow_joblib)


def test_every_error_is_public() -> None:
    """Every error that can leave a run is among the public names."""
    errors = {name for name, kind in vars(exceptions).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert errors <= set(airflow_joblib.__all__)


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError as for any module."""
    with pytest.raises(AttributeError, match="module 'airflow_joblib' has no attribute 'nothing'"):
        airflow_joblib.nothing


def test_version() -> None:
    """The version is that of the distribution."""
    assert airflow_joblib.__version__ == version("airflow-joblib")


@pytest.mark.parametrize("name", airflow_joblib.__all__)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Every public name, and every public member of a public class, says what it is."""
    value = getattr(airflow_joblib, name)
    assert inspect.getdoc(value)
    if isinstance(value, type):
        members = {key: member for key, member in vars(value).items() if not key.startswith("_")}
        assert not [key for key, member in members.items() if callable(member) and not inspect.getdoc(member)]


def test_every_option_is_documented() -> None:
    """The decorator's docstring describes every option."""
    from airflow_joblib.options.options import option_names

    text = inspect.getdoc(airflow_joblib.parallel_task) or ""
    assert [name for name in option_names() if f"\n    {name}: " not in text] == []


@pytest.mark.parametrize("module", MODULES)
def test_all_holds(module: str) -> None:
    """Every name in a module's ``__all__`` is there, and every module has a docstring."""
    engine = module.removeprefix("airflow_joblib.clusters.").partition(".")[0]
    if module.startswith("airflow_joblib.clusters.") and engine in EXTRAS:
        for package in EXTRAS[engine]:
            pytest.importorskip(package, reason=f"The engine {engine} is not installed.")
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    assert [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)] == []
