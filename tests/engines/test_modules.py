"""The user's own modules, and packages that are installed for the task, on workers that have neither."""

from __future__ import annotations

import importlib
import logging
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import ClusterError, NotPicklableError
from tests.engines.helpers import MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Source = Callable[[str], Any]
    Write = Callable[..., None]

pytestmark = [*MARKS, pytest.mark.usefixtures("session")]

OURS = ("own_helpers", "own_package", "own_plugin", "fake_package")


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write modules into a folder that this process alone has on its path."""
    folders: set[str] = set()

    def write(folder: str, **sources: str) -> None:
        for name, text in sources.items():
            path = tmp_path / folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        folders.add(str(tmp_path / folder))
        sys.path[:0] = [str(tmp_path / folder)]
        importlib.invalidate_caches()

    yield write
    sys.path[:] = [entry for entry in sys.path if entry not in folders]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, write: Write) -> None:
    """Install a package where the task runs, and nowhere else."""
    write("site-packages", fake_package="def value():\n    return 7\nclass Kind:\n    pass\n")
    metadata = tmp_path / "site-packages" / "Fake_Package-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: Fake-Package\nVersion: 1.2.3\n")
    (metadata / "top_level.txt").write_text("fake_package\n")
    importlib.import_module("airflow_joblib.clusters.modules")._distributions.cache_clear()


def test_modules_of_the_bundle(source: Source, write: Write) -> None:
    """Modules beside the DAG file, and of the plugins folder, travel however the function imports them."""
    write(
        "dags",
        own_helpers="""
            from dataclasses import dataclass
            from own_plugin import FACTOR

            @dataclass
            class Result:
                value: int

            class TooMuch(Exception):
                pass

            def scaled(item):
                if item > 100:
                    raise TooMuch(item)
                return Result(item * FACTOR)
            """,
        own_package__one="""
            def total(item):
                from . import two
                return two.add(item)
            """,
        own_package__two="def add(item):\n    return item + 1\n",
    )
    write("plugins", own_plugin="FACTOR = 3\ndef shift(item):\n    return item - FACTOR\n")
    module = source("""
import own_helpers
import own_package.one as one
from own_helpers import scaled

@parallel_task(**OPTIONS)
def work(item):
    import own_plugin
    from own_package.two import add
    return scaled(item), own_helpers.scaled(item), one.total(item), add(item), own_plugin.shift(item)

@parallel_task(**OPTIONS)
def seen(item):
    import sys
    return [name for name in sys.modules if name.startswith("own_")]
""")
    results = module.work(range(20))
    helpers: Any = sys.modules["own_helpers"]
    kind = helpers.Result
    assert results == [(kind(3 * i), kind(3 * i), i + 1, i + 1, i - 3) for i in range(20)]
    with pytest.raises(helpers.TooMuch):
        module.work([1, 1000])
    assert module.seen(range(4)) == [[]] * 4


def test_items_of_the_bundle(source: Source, write: Write) -> None:
    """Items may be objects of a class, and functions, of a module beside the DAG file."""
    write(
        "dags",
        own_helpers="class Order:\n    def __init__(self, n):\n        self.n = n\ndef f(x):\n    return x + 1\n",
    )
    module = source("""
from own_helpers import Order, f

@parallel_task(**OPTIONS)
def work(item, function):
    item.n = function(item.n)
    return item
""")
    results = module.work([module.Order(n) for n in range(10)], function=module.f)
    assert [order.n for order in results] == list(range(1, 11))
    assert {type(order) for order in results} == {module.Order}


def test_what_cannot_travel_of_a_module(source: Source, write: Write) -> None:
    """A module's lock is named by its path before anything has run."""
    write(
        "dags", own_helpers="import threading\nLOCK = threading.Lock()\ndef f(x):\n    with LOCK:\n        return x\n"
    )
    module = source("""
@parallel_task(**OPTIONS)
def work(item):
    import own_helpers
    return own_helpers.f(item)
""")
    with pytest.raises(NotPicklableError) as caught:
        module.work(range(3))
    assert caught.value.path == "work → import own_helpers → attribute 'f' → global 'LOCK'"


NEEDS = {
    "refers": "from fake_package import value\n\n@parallel_task(**OPTIONS)\ndef work(item):\n    return value()\n",
    "module": "import fake_package\n\n@parallel_task(**OPTIONS)\ndef work(item):\n    return fake_package.value()\n",
    "item": "import fake_package\n\n@parallel_task(**OPTIONS)\ndef work(item):\n    return item\n",
    "inside": "@parallel_task(**OPTIONS)\ndef work(item):\n    import fake_package\n    return fake_package.value()\n",
}


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("way", NEEDS)
def test_a_package_that_workers_lack(source: Source, tmp_path: Path, way: str) -> None:
    """It is named before anything has run, with the command that installs it."""
    module = source(NEEDS[way])
    items = [sys.modules["fake_package"].Kind()] if way == "item" else [tmp_path]
    message = r"worker .* lacks .*fake_package.*Nothing has run.* pip install 'Fake-Package==1\.2\.3'"
    with pytest.raises(ClusterError, match=message):
        module.work(items * 3)


@pytest.mark.usefixtures("package")
def test_a_package_that_may_not_be_needed(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """An import that is expected to fail is no error, nor one of a method, of which there is a warning."""
    module = source("""
class Table:
    def to_fake(self):
        import fake_package
        return fake_package.value()

@parallel_task(**OPTIONS)
def work(item):
    try:
        import fake_package
    except ImportError:
        return "without"
    import no_such_module_anywhere

@parallel_task(**OPTIONS)
def other(item):
    return Table is not None
""")
    with caplog.at_level(logging.WARNING, "airflow_joblib"):
        assert module.work(range(3)) == ["without"] * 3
        assert "lacks" not in caplog.text
        assert module.other(range(3)) == [True] * 3
    assert "an item that calls Table.to_fake(), which imports it, will fail" in caplog.text
    assert caplog.text.count("Fake-Package==1.2.3") == 1
