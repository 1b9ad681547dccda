"""A running cluster of each engine, which tests share, and DAG files that its workers can't see."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import SECRET, SLOW, wait_until, workers_of
from tests.harness.clusters import Cluster, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

NEEDS = {"dask": "distributed", "ray": "ray", "spark": "joblibspark"}

#: A task's process: the items' folder is its argument.
TASK = f"""
import sys
from airflow_joblib import parallel_task

OPTIONS = GIVEN
SECONDS = 60
{SLOW}
if __name__ == "__main__":
    work(range(4), folder=sys.argv[1], secret={SECRET!r})
"""


@pytest.hookimpl(tryfirst=True)  # before what gives the groups to processes
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one engine together, and in one process, so that it needs one cluster."""
    ours = [item for item in items if "tests/engines" in str(item.path)]
    for item in ours:
        item.add_marker(pytest.mark.xdist_group(_engine_of(item) or "none"))
    order = {item: list(NEEDS).index(name) if (name := _engine_of(item)) else -1 for item in ours}
    places = [place for place, item in enumerate(items) if item in order]
    for place, item in zip(places, sorted(ours, key=order.__getitem__), strict=True):
        items[place] = item


def _engine_of(item: pytest.Item) -> str | None:
    return getattr(item, "callspec", None) and item.callspec.params.get("engine")  # type: ignore[attr-defined]


@pytest.fixture(scope="session", params=NEEDS)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine; skips where it is not installed."""
    name: str = request.param
    pytest.importorskip(NEEDS[name], reason=f"The engine {name} is not installed: make test ENGINES=1")
    if name == "spark" and shutil.which("java") is None:
        pytest.skip("Spark needs Java.")
    return name


@pytest.fixture(scope="session")
def cluster(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of the engine with two workers, each of which runs one item at a time."""
    with running(engine, tmp_path_factory.mktemp(engine)) as started:
        yield started


@pytest.fixture
def dag_file(tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Load source as Airflow loads a DAG file: under a name that only this process knows."""
    loaded: list[str] = []

    def load(source: str) -> ModuleType:
        name = f"unusual_prefix_{secrets.token_hex(20)}_file"
        path = tmp_path / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


@pytest.fixture
def source_of(dag_file: Callable[[str], ModuleType]) -> Callable[[str], Any]:
    """Load a DAG file."""
    return dag_file


@pytest.fixture
def source_on(engine: str, dag_file: Callable[[str], ModuleType]) -> Callable[[Cluster, str], Any]:
    """Load a DAG file whose parallel tasks have a cluster as ``OPTIONS``."""

    def load(cluster: Cluster, text: str) -> Any:
        options = {"backend": engine, "backend_options": cluster.options}
        return dag_file(f"from airflow_joblib import parallel_task\nOPTIONS = {options!r}\n{text}")

    return load


@pytest.fixture
def source(cluster: Cluster, source_on: Callable[[Cluster, str], Any]) -> Callable[[str], Any]:
    """Load a DAG file whose parallel tasks have the shared cluster as ``OPTIONS``."""
    return lambda text: source_on(cluster, text)


@pytest.fixture(scope="module")
def session(engine: str, cluster: Cluster) -> Iterator[None]:
    """A session with the cluster that runs use as it is: on Ray and Spark one for each takes most of a test's time."""
    if engine == "dask":
        yield
    elif engine == "ray":
        with connected(engine, cluster.options, 2):
            yield
    else:
        with _session_of_spark(cluster):
            yield


@contextmanager
def _session_of_spark(cluster: Cluster) -> Iterator[None]:
    from airflow_joblib.clusters.spark import driver as spark_driver
    from airflow_joblib.clusters.spark import engine as spark_engine

    conf = {**spark_engine._CONF, **spark_engine._ENCRYPTED, **cluster.options["conf"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_driver, "_one_at_a_time", threading.Lock())
        driver = spark_driver.Driver(cluster.options["address"], conf, cluster.options["secret"], 30)
        driver.__enter__()
    try:
        driver.session.sparkContext.pythonExec = sys.executable
        yield
    finally:
        driver.__exit__(None, None, None)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is so short that nobody looks for another; must be empty in the end."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    folder.rmdir()


@pytest.fixture
def task(engine: str, tmp_path: Path, temporary: Path) -> Iterator[Callable[[Cluster | None], subprocess.Popen[bytes]]]:
    """Start a task in a process of its own, whose items run when this returns; without a cluster on one of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(cluster: Cluster | None) -> subprocess.Popen[bytes]:
        options = {"backend": engine, **({"backend_options": cluster.options} if cluster else {"n_jobs": 2})}
        file, items = tmp_path / "task.py", tmp_path / "items"
        items.mkdir()
        file.write_text(TASK.replace("GIVEN", repr(options)))
        environment = {**os.environ, "TMPDIR": str(temporary)}
        started.append(subprocess.Popen([sys.executable, str(file), str(items)], env=environment))
        wait_until(lambda: workers_of(items, 2), 120)
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait(5)
