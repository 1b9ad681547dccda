"""The pytest plugin in sessions of its own: what it imports, the option, processes of pytest-xdist."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_FAN_OUT = """
import os
import threading
from airflow_joblib import parallel_task

@parallel_task(n_jobs=2, backend="loky", backend_options={"inner_max_num_threads": 1})
def where(n):
    return os.getpid(), threading.get_ident()

def test_where():
    found = where.map(range(20))
    here = {pid == os.getpid() for pid, _ in found}, {thread == threading.get_ident() for _, thread in found}
    assert here == WANTED
"""
_HEAVY = """
import sys
import freezegun

def test_nothing_heavy():
    with freezegun.freeze_time("2020-01-01"):  # which looks at all that modules list
        pass
    assert not {"airflow", "joblib", "cloudpickle", "psutil", "structlog"} & sys.modules.keys()
"""
_WITHOUT_AIRFLOW = """
import sys

class Nowhere:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "airflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())

from airflow_joblib import parallel_task

def test_without_airflow():
    assert parallel_task(n_jobs=2)(lambda n: n).map([1, 2]) == [1, 2]
"""
_IN_PARALLEL = """
import os
import pytest
from airflow_joblib import parallel_task

@pytest.mark.parametrize("number", range(4))
def test_each(airflow_task, number):
    with airflow_task(variables={"rate": str(number)}) as run:
        from airflow.sdk import Variable
        run.kill_worker(item=1)
        found = parallel_task(n_jobs=2)(lambda n: [n, Variable.get("rate")]).map([0, 1])
        assert found == [[0, str(number)], [1, str(number)]]
        assert os.environ["PYTEST_XDIST_WORKER"]
    assert "workers are forked" in run.logs[0]["event"]
"""


def session(folder: Path, code: str, *options: str) -> str:
    """Run a file of tests in a session of its own, and return what it prints."""
    (folder / "test_it.py").write_text(code)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        *options,
        str(folder),
    ]
    environment = {**kept, "AIRFLOW_HOME": str(folder / "airflow")}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    return done.stdout + done.stderr


def test_entry_point() -> None:
    """Pytest finds the plugin by its entry point."""
    found = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    assert found["airflow_joblib"] == "airflow_joblib.testing.pytest_plugin"


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("--fan-out=sequential", "({True}, {True})"),
        ("--fan-out=threading", "({True}, {False})"),
        ("--fan-out=as-decorated", "({False}, {False})"),
    ],
)
def test_option(tmp_path: Path, option: str, wanted: str) -> None:
    """Every fan-out of the session runs in the way of the option, whatever its decorator says."""
    code = _FAN_OUT.replace("WANTED", wanted)
    if "False}, {False" in wanted:  # the main threads of two processes may have one identifier
        code = code.replace("{thread == threading.get_ident() for _, thread in found}", "{False}")
    assert "1 passed" in session(tmp_path, code, option)


def test_nothing_heavy(tmp_path: Path) -> None:
    """A session that uses nothing of this library imports nothing that it needs."""
    assert "1 passed" in session(tmp_path, _HEAVY)


def test_without_airflow(tmp_path: Path) -> None:
    """Where there is no Airflow the session runs as ever."""
    assert "1 passed" in session(tmp_path, _WITHOUT_AIRFLOW, "--fan-out=threading")


def test_in_processes_of_xdist(tmp_path: Path) -> None:
    """In each process of pytest-xdist tests have tasks of their own, with workers that are forks."""
    assert "4 passed" in session(tmp_path, _IN_PARALLEL, "-n", "2")


def test_without_pytest(tmp_path: Path) -> None:
    """Without pytest the kit is the same; logging of the script is as before afterwards."""
    code = """
import logging
from airflow_joblib import parallel_task, testing
from airflow.sdk import Variable

logging.basicConfig(force=True, format="%(message)s")
with testing.task(variables={"rate": "seven"}) as run:
    found = parallel_task(n_jobs=2)(lambda n: [n, Variable.get("rate")]).map([1, 2])
logging.getLogger("shop").warning("as before %s %s", found, run.xcoms["return_value"] == found)
import sys
print("pytest" in sys.modules)
"""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr.splitlines()[-1] == "as before [[1, 'seven'], [2, 'seven']] True"
    assert done.stdout.splitlines()[-1] == "False"
