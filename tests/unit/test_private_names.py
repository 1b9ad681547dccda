"""Names of other libraries that are no public API: where they may stand, and what is said when one is gone."""

from __future__ import annotations

import ast
import importlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
import pytest

import airflow_joblib
from airflow_joblib import ClusterError, ParallelTaskError, engines
from airflow_joblib.engines import private_names as of_engines
from airflow_joblib.lean import start
from airflow_joblib.picklability.dependencies import submodules
from airflow_joblib.private_names import gone, has
from tests.unit.helpers import task

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(airflow_joblib.__path__[0])
FILES = {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")}
#: The modules of Airflow that others than `airflow_internals.py` may import.
PUBLIC = {"airflow.sdk", "airflow.providers.standard.operators.python"}
#: Files that may use private names of other libraries, each of which looks whether they are there.
GUARDED = {
    "checkpoint/digests.py",  # of the standard library's pickle, without which its own sort of sets is left out
    "engines/dask_engine.py",
    "engines/dask_worker.py",
    "engines/private_names.py",
    "engines/ray_backend.py",
    "engines/ray_session.py",
    "engines/spark_driver.py",
    "engines/spark_engine.py",
    "joblib_internals.py",
    "lean/popen.py",
    "lean/start.py",
    "taskflow/airflow_internals.py",
    "taskflow/guest_logs.py",
}
OWN = {"chunks.py": {"_packer"}, "taskflow/relay.py": {"_forget"}}
STANDARD = {
    "_exit",
    "_getframe",
    "_current_frames",
    "_name_",
    "_value_",
    "_member_type_",
    "_replace",
    "_asdict",
    "_fields",
    "_make",
} | {
    "_name_",  # an Enum's, documented
    "_value_",
}
LIBRARIES = ("airflow.", "cloudpickle", "dask", "distributed", "joblib", "pyspark", "ray", "structlog")


def test_airflow_is_imported_by_its_public_names() -> None:
    """But for one file, Airflow is imported by what it promises to keep."""
    for file, tree in FILES.items():
        if file != "taskflow/airflow_internals.py":
            found = {name for name, _ in _imports(tree) if name.partition(".")[0] == "airflow"}
            assert found <= PUBLIC, file


def test_private_modules_are_imported_where_they_are_guarded() -> None:
    """No other file imports a private module, or a private name, of another library."""
    for file, tree in FILES.items():
        if file not in GUARDED:
            found = [f"{module}.{name}" for module, name in _imports(tree) if module.startswith(LIBRARIES)]
            assert not [name for name in found if "._" in name], file


def test_private_attributes_are_used_where_they_are_guarded() -> None:
    """No other file uses a private attribute of what isn't its own."""
    for file, tree in FILES.items():
        if file not in GUARDED:
            assert _foreign(tree) <= STANDARD | OWN.get(file, set()), file


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield from ((node.module, alias.name) for alias in node.names)


def _foreign(tree: ast.AST) -> set[str]:
    """Return private attributes of anything but what a class says it has itself."""
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _private(node.attr)]
    own = {node.attr for node in used if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {node.attr for node in used} - own


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def hide(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> None:
    """Hide an attribute of a class's objects from this library; the class itself goes on to use it."""
    before = kind.__getattribute__

    def get(self: Any, wanted: str) -> Any:
        if wanted == name and sys._getframe(1).f_globals["__name__"].startswith("airflow_joblib"):
            raise AttributeError(name)
        return before(self, wanted)

    monkeypatch.setattr(kind, "__getattribute__", get)


def _same(item: int) -> int:
    return item


LOKY = importlib.import_module("joblib.externals.loky.process_executor").ProcessPoolExecutor
HIDDEN = [
    ("loky", joblib.parallel.BACKENDS["loky"], "_workers", "LokyBackend._workers"),
    ("loky", LOKY, "_processes", "LokyBackend._workers._processes"),
    ("threading", joblib.Parallel, "_backend", "joblib.Parallel._backend"),
]


@pytest.mark.parametrize(("backend", "kind", "name", "said"), HIDDEN, ids=lambda value: str(value)[-40:])
def test_missing_name_of_a_pool(monkeypatch: pytest.MonkeyPatch, backend: str, kind: Any, name: str, said: str) -> None:
    """A backend whose pool isn't as known is an error of one sentence; another backend goes on."""
    hide(monkeypatch, kind, name)
    other = "sequential" if backend == "threading" else "threading"
    with pytest.raises(ParallelTaskError, match=rf"joblib [\d.]+, which has no .*{said}") as caught:
        task(_same, backend=backend).map([1, 2, 3])
    assert ". " not in str(caught.value)
    assert task(_same, backend=other).map([1, 2, 3]) == [1, 2, 3]


def test_missing_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loky's tracker the backends that need it say so; threads go on."""
    monkeypatch.setitem(sys.modules, "joblib.externals.loky.backend.resource_tracker", None)
    monkeypatch.delattr("joblib.externals.loky.backend.resource_tracker", raising=False)
    with pytest.raises(ParallelTaskError, match=r"has no joblib\.externals\.loky\.backend\.resource_tracker"):
        start.tracker()
    assert task(_same, backend="threading").map([1, 2]) == [1, 2]


def test_missing_name_of_cloudpickle() -> None:
    """A cloudpickle that no longer says which submodules a function uses is an error, and none is left behind."""
    with pytest.raises(ParallelTaskError, match=r"can't work with cloudpickle [\d.]+, which has no '_cloudpickle_sub"):
        submodules({"__globals__": {}})
    reduced: Any = cloudpickle.Pickler(io.BytesIO()).reducer_override(lambda: sys.path)
    assert submodules(reduced[2][1]) == []


ENGINES = [(engine, *place) for engine, places in of_engines.PLACES.items() for place in places]


@pytest.mark.parametrize(("engine", "library", "place"), ENGINES)
def test_missing_name_of_an_engine(monkeypatch: pytest.MonkeyPatch, engine: str, library: str, place: str) -> None:
    """An engine that lacks a name is an error of one sentence before it is connected to; other backends go on."""
    for needed in {"dask": ("distributed",), "ray": ("ray",), "spark": ("pyspark", "joblibspark")}[engine]:
        pytest.importorskip(needed)
    module_name, _, name = place.partition(":")
    first = name.partition(".")[0]
    module = importlib.import_module(module_name)
    monkeypatch.setattr(module, first, SimpleNamespace()) if "." in name else monkeypatch.delattr(module, first)
    with pytest.raises(ClusterError, match=rf"can't work with {library} [\w.]+, which has no ") as caught:
        engines.connect(engine, {}, 1)
    assert place.partition(".")[0].partition(":")[0] in str(caught.value)
    assert ". " not in str(caught.value)
    assert task(_same, backend="threading").map([1, 2]) == [1, 2]


class _Declared:
    later: int


def test_what_is_declared_is_there() -> None:
    """A name that a class or module declares, and sets later, counts as there; what neither has doesn't."""
    assert has(_Declared, "later")
    assert not has(_Declared, "later.part")
    assert not has(_Declared, "never")
    assert str(gone("nothing", "a.b")).startswith("airflow-joblib ")
    assert "nothing of an unknown version, which has no a.b" in str(gone("nothing", "a.b"))
