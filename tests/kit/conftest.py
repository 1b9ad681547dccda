"""An Airflow home of its own for the tests of the kit, which must leave nothing there. Before Airflow is imported."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.testing import load_dag_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

HOME = Path(tempfile.mkdtemp(prefix="kit-home-"))
os.environ["AIRFLOW_HOME"] = str(HOME)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for name in tuple(os.environ):
    if name.startswith("AIRFLOW__JOBLIB__"):
        del os.environ[name]


@pytest.fixture(autouse=True, scope="session")
def _home() -> Iterator[None]:
    """Remove the home in the end."""
    yield
    shutil.rmtree(HOME)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What some tests leave on purpose will not go by waiting for it."""
    monkeypatch.setattr("airflow_joblib.testing.leftovers._PATIENCE", 1.0)


@pytest.fixture(scope="session")
def shop() -> ModuleType:
    """The DAG file that most tests are about, as an executor loads it."""
    return load_dag_file(Path(__file__).parent / "dag_files" / "shop.py")
