"""A DAG file is loaded as an executor loads it."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.testing import load_dag_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for DAG files; the path of modules is as before afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("name", ["orders.py", "new-orders.v2.py"])
def test_name(folder: Path, name: str) -> None:
    """The module has the made-up name that Airflow gives it, by which nothing else can import it."""
    from airflow.utils.file import get_unique_dag_module_name

    file = folder / name
    file.write_text("NAME = __name__")
    module = load_dag_file(file)
    assert module.NAME == module.__name__ == get_unique_dag_module_name(str(file))
    assert sys.modules.pop(module.__name__) is module


def test_each_time_anew(folder: Path) -> None:
    """Each call gives a module of its own, with what the file has by then."""
    file = folder / "orders.py"
    file.write_text("RATE = 1")
    first = load_dag_file(str(file))
    file.write_text("RATE = 200")
    second = load_dag_file(str(file))
    assert (first.RATE, second.RATE) == (1, 200)
    del sys.modules[second.__name__]


def test_modules_beside_it(folder: Path) -> None:
    """It can import the modules beside it."""
    (folder / "beside_shop.py").write_text("RATE = 3")
    (folder / "shop.py").write_text("from beside_shop import RATE")
    assert load_dag_file(folder / "shop.py").RATE == 3


def test_error_of_the_file(folder: Path) -> None:
    """An error of the file is raised as it is, with the traceback from the file on; nothing half-loaded stays."""
    file = folder / "orders.py"
    file.write_text("def rate():\n    return 1 / 0\n\n\nrate()\n")
    with pytest.raises(ZeroDivisionError) as caught:
        load_dag_file(file)
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == [(str(file), 5), (str(file), 2)]
    assert not [frame for frame in frames if "importlib" in frame[0]]
    assert not [name for name in sys.modules if name.endswith("_orders")]


def test_cause_of_an_error(folder: Path) -> None:
    """An error of the file keeps what has caused it."""
    file = folder / "orders.py"
    file.write_text("try:\n    {}['rate']\nexcept KeyError as error:\n    raise ValueError('no rate') from error\n")
    with pytest.raises(ValueError, match="no rate") as caught:
        load_dag_file(file)
    assert isinstance(caught.value.__cause__, KeyError)


def test_no_such_file(folder: Path) -> None:
    """A file that is not there is an error with its path."""
    with pytest.raises(FileNotFoundError, match=r"There is no DAG file '.*/nowhere.py'"):
        load_dag_file(folder / "nowhere.py")
