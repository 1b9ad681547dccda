"""A running cluster of each engine, which tests share, and DAG files that its workers can't see."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clusters import Cluster, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

NEEDS = {"dask": "distributed", "ray": "ray", "spark": "joblibspark"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one engine together, so that no two clusters run at a time."""
    ours = [item for item in items if "tests/engines" in str(item.path)]
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
def source(engine: str, cluster: Cluster, dag_file: Callable[[str], ModuleType]) -> Callable[[str], Any]:
    """Load a DAG file whose parallel tasks have the cluster as ``OPTIONS``."""

    def load(text: str) -> Any:
        options = {"backend": engine, "backend_options": cluster.options}
        return dag_file(f"from airflow_joblib import parallel_task\nOPTIONS = {options!r}\n{text}")

    return load
