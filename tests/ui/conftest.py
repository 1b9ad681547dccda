"""One Airflow and one Chromium for all tests of the tab, and runs whose tasks have written records."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import AirflowInstance
from tests.harness.demo import SHOWN
from tests.ui.browser import Tabs, sign_in
from tests.ui.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "ui"


@pytest.hookimpl(tryfirst=True)  # before what gives the groups to processes
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one process, which share an Airflow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("ui"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; skips where it or Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: make .venv/.ui")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is missing: apt install chromium, or name it in CHROMIUM")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser


@pytest.fixture(scope="session")
def airflow(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """A running Airflow below a base path, as behind a proxy, where nobody may read the XComs of one DAG."""
    instance = AirflowInstance(
        tmp_path_factory.mktemp("home"),
        [Path(__file__).parent / "dag_files", SHOWN],
        env={"PYTHONPATH": str(ROOT)},
        config={"core": {"auth_manager": "tests.ui.auth_manager.AuthManager"}},
        base_path="/team",
    )
    with instance:
        yield instance
        chromium.close()  # before the server, which would wait for its connections
    assert not instance.killed
    assert not instance.leftovers()


@pytest.fixture(scope="session")
def runs(airflow: AirflowInstance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Start all runs at once, and end those that still wait."""
    started = Runs(airflow, tmp_path_factory.mktemp("gates"))
    yield started
    started.end()


@pytest.fixture(scope="session")
def user(airflow: AirflowInstance, chromium: Any) -> Any:
    """Sign in once."""
    return sign_in(chromium, airflow.url)


@pytest.fixture
def tabs(airflow: AirflowInstance, chromium: Any, user: Any) -> Iterator[Tabs]:
    """Open pages, which must have no error in their console, and ask nobody but the server."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    opened = Tabs(chromium, airflow.url, user, PICTURES)
    yield opened
    opened.close()
    assert opened.errors == []
    assert opened.origins <= {airflow.url.removesuffix("/team")}
