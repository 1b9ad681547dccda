"""What is imported when: the library's own promises about cold starts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_joblib
from tests.unit.helpers import run_python

DECORATE = """
import sys
from airflow_joblib import parallel_task, ParallelTask, NotPicklableError
@parallel_task
def bare(item): return item
@parallel_task(n_jobs=2, backend="BACKEND", retries=1)
def called(item, factor=2): return item * factor
class C:
    @parallel_task(n_jobs=1)
    def method(self, item): return item
parallel_task(len), bare.override(n_jobs=2), bare.function(1), repr(called)
"""
RUN = """
called.function(3); called.map([1, 2]); called([1, 2], factor=3); C().method([1])
"""
SHOW = """
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def modules_after(code: str) -> set[str]:
    return set(run_python(code).stdout.split())


def test_importing_imports_little() -> None:
    """Importing the package imports neither Airflow nor joblib, nor anything that they bring."""
    loaded = modules_after("import sys, airflow_joblib; dir(airflow_joblib)" + SHOW)
    assert loaded.isdisjoint({"airflow", "joblib", "cloudpickle", "numpy", "pandas", "psutil", "tqdm"})


def test_decorating_imports_little() -> None:
    """Decorating imports neither Airflow nor joblib: a DAG file pays for neither."""
    loaded = modules_after(DECORATE.replace("BACKEND", "loky") + SHOW)
    assert loaded.isdisjoint({"airflow", "joblib", "cloudpickle", "numpy", "pandas", "psutil", "tqdm"})


@pytest.mark.parametrize("backend", ["threading", "multiprocessing"])
def test_running_imports_no_airflow(backend: str) -> None:
    """``.map``, ``.function`` and a call outside a DAG import nothing of Airflow."""
    loaded = modules_after(DECORATE.replace("BACKEND", backend) + RUN + SHOW)
    assert "airflow" not in loaded
    assert "joblib" in loaded


def test_workers_import_no_airflow() -> None:
    """A worker process imports nothing of Airflow of its own accord."""
    code = """
import sys
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky")
def loaded(item):
    import sys
    return "airflow" in sys.modules
print(loaded(range(4)))
"""
    assert run_python(code).stdout.strip() == "[False, False, False, False]"


def test_import_is_fast() -> None:
    """Importing the package takes far less of the processor's time than importing joblib does."""
    code = """
import time
began = time.process_time()
import airflow_joblib
between = time.process_time()
import joblib
print((between - began) / (time.process_time() - between))
"""
    assert min(float(run_python(code).stdout) for _ in range(3)) < 0.25


#: Files of other rooms that Airflow alone loads.
OF_AIRFLOW = {("cli", "airflow_commands.py"), ("ui", "plugin.py")}


def test_only_taskflow_names_airflow() -> None:
    """Airflow is imported by ``taskflow/``, by what stands in for it in unit tests, and by its command line's part."""
    package = Path(airflow_joblib.__path__[0])
    for file in package.rglob("*.py"):
        parts = file.relative_to(package).parts
        if not {"taskflow", "testing"} & set(parts) and parts not in OF_AIRFLOW:
            assert not _airflow_imports(file), file


def test_no_unit_test_imports_airflow() -> None:
    """No unit test imports Airflow: this folder runs where it is not installed."""
    for file in Path(__file__).parent.rglob("*.py"):
        assert not _airflow_imports(file), file


def _airflow_imports(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return [name for name in names if name.partition(".")[0] == "airflow"]
