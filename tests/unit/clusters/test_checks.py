"""What is checked of a cluster before anything runs, by whatever engine."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from airflow_joblib import ClusterError, InvalidOptionError, parallel_task
from airflow_joblib.clusters import connect
from airflow_joblib.clusters.engine import Options, check_reachable, check_software, require, software
from airflow_joblib.clusters.modules import airflow_version, check_airflow, check_modules, distribution_of, missing
from tests.unit.helpers import run_python


@parallel_task(n_jobs=2)
def double(item: int) -> int:
    return 2 * item


def test_missing_extra() -> None:
    """Without an engine's packages the error says which, and how to install them."""
    with pytest.raises(ClusterError, match=r"needs nothing_such, which is not .* pip install 'airflow-joblib\[dask\]'"):
        require("dask", ["nothing_such"])
    require("dask", ["json"])


def test_software_is_that_of_this_process() -> None:
    """Python and the distributions that count have a version."""
    found = software()
    assert all(found[name] for name in ("python", "cloudpickle", "joblib", "airflow-joblib"))


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"python": "3.9.1"}, r"w1 has python 3\.9\.1, the task has .* Start the workers with Python"),
        ({"cloudpickle": "2.0"}, r"w1 has cloudpickle 2\.0, .* pip install 'cloudpickle=="),
        ({"cloudpickle": None}, r"w1 lacks cloudpickle, .* pip install 'cloudpickle=="),
        ({"airflow-joblib": "0.0.1"}, r"w1 has airflow-joblib 0\.0\.1, .* pip install 'airflow-joblib=="),
        ({"airflow-joblib": None}, r"w1 lacks airflow-joblib, .* pip install 'airflow-joblib=="),
        ({"joblib": None}, r"w1 lacks joblib"),
    ],
)
def test_other_software(there: dict[str, str | None], message: str) -> None:
    """A worker with another Python or cloudpickle, or without a package, is named with the command that mends it."""
    fits = software()
    with pytest.raises(ClusterError, match=message):
        check_software("dask", {"w0": fits, "w1": {**fits, **there}})


def test_software_that_fits() -> None:
    """Another patch release of Python, or another joblib, is no reason to refuse a worker."""
    fits = software()
    major, minor, _ = str(fits["python"]).split(".")
    check_software("dask", {"w": {**fits, "python": f"{major}.{minor}.99.final.0", "joblib": "1.5.0"}})


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("numpy", "numpy"),
        ("numpy.linalg", "numpy"),
        ("airflow.providers.celery.executors", "apache-airflow-providers-celery"),
        ("no_such_module", None),
    ],
)
def test_distribution_of_a_module(module: str, distribution: str | None) -> None:
    """A module's distribution is found, where several share a package by the files they have installed."""
    assert distribution_of(module) == distribution


def test_missing_modules() -> None:
    """What can't be found is named, down to the part of a package, and nothing is imported to find out."""
    assert missing(["numpy", "numpy.nothing_such", "nothing_such.at_all", "os.path", "email.mime.text"]) == [
        "numpy.nothing_such",
        "nothing_such.at_all",
        "os.path",  # which has no place of its own, so that nobody asks for it
    ]
    with pytest.raises(ClusterError, match=r"w1 lacks numpy, which work\(\) imports\. Nothing .* pip install 'numpy=="):
        check_modules("dask", {"w0": [], "w1": ["numpy"]}, {"numpy": "work"}, {})
    with pytest.raises(ClusterError, match=r"lacks the module numpy.linalg of numpy, which what the task sends refers"):
        check_modules("dask", {"w1": ["numpy.linalg"]}, {"numpy.linalg": ""}, {})


def test_another_airflow(caplog: pytest.LogCaptureFixture) -> None:
    """A worker with an Airflow of another minor version is an error where the function uses it, else a warning."""
    here = str(airflow_version())
    patch = ".".join([*here.split(".")[:2], "99"])
    check_airflow("dask", {"w0": here, "w1": patch, "w2": None}, refuse=True)
    message = (
        rf"The dask worker w1 has apache-airflow-task-sdk 0\.9\.0, the task has {here}: .* Nothing has run\. Install"
    )
    with pytest.raises(ClusterError, match=message) as caught:
        check_airflow("dask", {"w0": here, "w1": "0.9.0"}, refuse=True)
    check_airflow("dask", {"w0": here, "w1": "0.9.0", "w2": "0.9.0"}, refuse=False)
    assert caplog.messages == [str(caught.value).replace("Nothing has run. ", "")]


def test_modules_below_a_package_without_a_file() -> None:
    """What providers of Airflow have is found where nothing of Airflow is loaded, by name and in a function's body."""
    code = """
import sys
from airflow_joblib.clusters.modules import missing
from airflow_joblib.pickling import dependencies, dumps

def work(item):
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook
    return SqliteHook

with dependencies() as found:
    dumps(work)
print(missing(["airflow.providers.sqlite.hooks.sqlite"]), found.needed, "airflow" in sys.modules)
print(missing(["airflow.providers.no_such", "airflow.providers.sqlite.no_such"]))
"""
    needed = {"airflow.providers.sqlite.hooks.sqlite": "work"}
    none = ["airflow.providers.no_such", "airflow.providers.sqlite.no_such"]
    assert run_python(code).stdout.splitlines() == [f"[] {needed} False", str(none)]


def test_nobody_listens() -> None:
    """An address where nobody listens is an error that names it and says how to start a cluster."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"spark://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"No spark cluster answered at {address} within 5 s.*start-master"):
            check_reachable(address, 5, "spark", "start-master")


@pytest.mark.parametrize("address", ["host", "", "tcp://host"])
def test_no_address(address: str) -> None:
    """What has no host and port is no address."""
    with pytest.raises(ClusterError, match="needs a host and a port"):
        check_reachable(address, 5, "ray", "ray start")


def test_unknown_engine_option() -> None:
    """An option that an engine does not know is refused, with those that it knows."""
    options = Options("ray", {"address": "a", "adress": "b"})
    assert options.take("address") == "a"
    assert options.timeout() == 10
    with pytest.raises(InvalidOptionError, match=r"\['adress'\] are not known .* It takes address, timeout"):
        options.finish()


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_bad_timeout(timeout: Any) -> None:
    """A timeout is a number of seconds above 0."""
    with pytest.raises(InvalidOptionError, match=r"backend_options\['timeout'\] must be"):
        Options("ray", {"timeout": timeout}).timeout()


def test_connection_outside_a_task() -> None:
    """Outside a task no Airflow connection can be asked for, and the error says what to give instead."""
    task = double.override(backend="dask", backend_options={"conn_id": "dask_default"})
    with pytest.raises(InvalidOptionError, match="name the Airflow connection 'dask_default', and this is no task"):
        task(range(3))


def test_nothing_to_do_connects_to_nothing() -> None:
    """Without items no cluster is looked for."""
    assert double.override(backend="dask", backend_options={"address": "tcp://127.0.0.1:1"})([]) == []


def test_engines_are_imported_when_asked_for() -> None:
    """Another backend, or the engine's name alone, imports no engine."""
    code = """
import sys
from airflow_joblib import parallel_task
from airflow_joblib.clusters import connect
parallel_task(backend="dask")(len)
parallel_task(backend="threading", n_jobs=2)(len)(["a", "b"])
print(sorted({"dask", "distributed", "ray", "pyspark"} & set(sys.modules)))
"""
    assert run_python(code).stdout.strip() == "[]"
    assert connect.__doc__
