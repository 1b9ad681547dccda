"""Modules that a worker would not find where the task has found them: those of a zipped DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "zipped_dag.py": """
import zipped_helpers, zipped_package.part
from zipped_helpers import Order, double, RATE, Kind
from zipped_package import part
from airflow_joblib import parallel_task

def plain(item):
    assert type(item) is Order and item.kind is Kind.SMALL
    return double(item.size) + part.three() + zipped_helpers.double(1) + zipped_package.part.three() + RATE

@parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)
def handle(item):
    return plain(item), Order(item.size)

@parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)
def trace(item):
    import traceback
    return [frame.filename.rpartition("/")[2] for frame in traceback.extract_stack(part.frame())][-1]
""",
    "zipped_helpers.py": """
import logging
from dataclasses import dataclass
from enum import Enum
log = logging.getLogger(__name__)
RATE = 1
class Kind(Enum):
    SMALL = 1
@dataclass
class Order:
    size: int
    kind: Kind = Kind.SMALL
def double(n):
    log.debug("x")
    return 2 * n
""",
    "zipped_package/__init__.py": "",
    "zipped_package/part.py": """
import sys
def three():
    return 3
def frame():
    return sys._getframe()
""",
}

RUN = """
import importlib, os, sys
archive = ARCHIVE
sys.path.insert(0, archive)
dag = importlib.import_module("zipped_dag")
if WHILE:
    from airflow_joblib.pickling import importable
    assert not importable("zipped_helpers")
    dag.handle.check()
assert sys.path[0] == archive
del sys.path[0]
Order = dag.Order
got = dag.handle.map([Order(1), Order(2)])
assert got == [(11, Order(1)), (13, Order(2))], got
assert all(type(order) is Order for _, order in got)
print(dag.trace.map([1, 2]))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "dags.zip"
    with ZipFile(path, "w") as file:
        for name, source in FILES.items():
            file.writestr(name, source)
    return path


@pytest.mark.parametrize("checked", [False, True])
def test_zipped_dag(archive: Path, *, checked: bool) -> None:
    """What a zipped DAG imports from its archive reaches workers, whether or not it was checked during the import."""
    done = run_python(RUN.replace("ARCHIVE", repr(str(archive))).replace("WHILE", str(checked)))
    assert done.stdout.strip() == "['part.py', 'part.py']"


def test_archive_on_the_search_path(archive: Path) -> None:
    """An archive that workers have on their own search path goes by reference, as installed packages do."""
    code = f"""
import sys
sys.path.append({str(archive)!r})
import zipped_helpers
from airflow_joblib.pickling import importable
from airflow_joblib.pickling.pickler import dumps
assert importable("zipped_helpers")
print(len(dumps(zipped_helpers.double)) < 80)
"""
    assert run_python(code).stdout.strip() == "True"
    code = code.replace("append(", "insert(0, ")
    assert run_python(code, {"PYTHONPATH": str(archive)}).stdout.strip() == "True"


def test_folder_that_is_on_the_path_no_longer(tmp_path: Path) -> None:
    """A module from a folder that was on the search path for its import alone reaches workers as well."""
    (tmp_path / "passing.py").write_text("class Thing:\n    pass\ndef one():\n    return 1\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import passing
del sys.path[0]
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)
def work(n):
    return passing.one() + n, passing.Thing
print(work.map([1, 2]) == [(2, passing.Thing), (3, passing.Thing)])
"""
    assert run_python(code).stdout.strip() == "True"
