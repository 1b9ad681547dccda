"""Where a library is used, and in what kind of process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["ENVIRONMENTS", "PLACES"]

PLACES = ("at the top level", "in the task's body", "in items alone")

_TELEMETRY = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader, ConsoleMetricExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
traces = TracerProvider()
traces.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
metrics = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter(), 500)])
import threading
assert len(threading.enumerate()) > 2
"""
_DAG = """
from airflow.sdk import dag, task


@task
def use_it():
    cell()


@dag(schedule=None)
def library_cell():
    use_it()


library_cell()
"""
_RUN_DAG = """
import os, subprocess, sys
if not os.path.exists(os.environ["AIRFLOW_HOME"] + "/airflow.db"):
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
os.execv(sys.executable, [sys.executable, "-m", "airflow", "dags", "test", "library_cell"])
"""
_NOTEBOOK = """
import sys
import nbclient, nbformat
from nbformat.v4 import new_code_cell, new_notebook
from pathlib import Path
notebook = new_notebook(cells=[new_code_cell(Path("cell.py").read_text()), new_code_cell("cell()")])
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
"""


def _script(source: str, folder: Path, before: str = "", after: str = "\ncell()\n") -> tuple[list[str], dict[str, str]]:
    (folder / "cell.py").write_text(before + source + after)
    return ["cell.py"], {}


def _telemetry(source: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    return _script(source, folder, _TELEMETRY)


def _pytest(*options: str) -> Callable[[str, Path], tuple[list[str], dict[str, str]]]:
    def prepare(source: str, folder: Path) -> tuple[list[str], dict[str, str]]:
        (folder / "test_cell.py").write_text(source + "\n\ndef test_cell():\n    cell()\n")
        (folder / "pytest.ini").write_text("[pytest]\n")
        return ["-m", "pytest", *options, "test_cell.py"], {}

    return prepare


def _dags_test(source: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "dags").mkdir()
    (folder / "dags" / "library_cell.py").write_text(source + _DAG)
    home = folder.parent / "airflow-home"  # a database that other cells use as well: it takes longer than all the rest
    return ["-c", _RUN_DAG], {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


def _notebook(source: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    _script(source, folder, after="")
    (folder / "run.py").write_text(_NOTEBOOK)
    return ["run.py"], {"IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}


#: By name: writes the cell's files, and gives the arguments of Python and more for its environment.
ENVIRONMENTS: dict[str, Callable[[str, Path], tuple[list[str], dict[str, str]]]] = {
    "script": _script,
    "OpenTelemetry": _telemetry,
    "pytest-xdist": _pytest("-n", "1"),
    "faulthandler_timeout": _pytest("-o", "faulthandler_timeout=100"),
    "airflow dags test": _dags_test,
    "notebook": _notebook,
}
