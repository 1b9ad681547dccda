"""Names of other libraries that are no public API: where they may stand, and what is said when one is gone."""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import io
import re
import sys
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
import pytest
from cloudpickle.cloudpickle import _dynamic_class_reduce

import airflow_joblib
from airflow_joblib import ParallelTaskError
from airflow_joblib.pickling.class_parts import parts_of_class
from airflow_joblib.pickling.own_modules.modules_of import submodules
from airflow_joblib.pickling.own_modules.own_parts import parts_of_function
from airflow_joblib.system.internals import gone, has
from airflow_joblib.system.isolated_start import start, trackers
from tests.unit.helpers import run_python, task

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(airflow_joblib.__path__[0])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: The modules of Airflow that others than `airflow_internals.py` may import.
PUBLIC = {
    "airflow.cli.cli_config",
    "airflow.configuration",
    "airflow.plugins_manager",
    "airflow.providers.standard.operators.python",
    "airflow.sdk",
}
#: Files that may use private names of other libraries, each of which looks whether they are there.
GUARDED = {
    "checkpoint/digests.py",  # of the standard library's pickle, without which its own sort of sets is left out
    "clusters/dask/engine.py",
    "clusters/dask/worker.py",
    "clusters/engine_internals.py",
    "clusters/ray/backend.py",
    "clusters/ray/session.py",
    "clusters/spark/backend.py",
    "clusters/spark/driver.py",
    "clusters/spark/engine.py",
    "pools/joblib_internals.py",
    "system/isolated_start/popen.py",
    "system/isolated_start/start.py",
    "system/isolated_start/trackers.py",
    "taskflow/airflow_internals.py",
    "taskflow/airflow_restored.py",
    "taskflow/cluster/worker_logs.py",
}
#: Of these, those that catch the AttributeError instead.
CATCH = {"checkpoint/digests.py", "system/isolated_start/start.py", "system/isolated_start/trackers.py"}
OWN = {"wire/chunk.py": {"_packer"}, "taskflow/relay/server.py": {"_forget"}}
STANDARD = {
    "_asdict",
    "_current_frames",
    "_exit",
    "_fields",
    "_getframe",
    "_make",
    "_member_type_",
    "_name_",  # an Enum's, documented
    "_replace",
    "_value_",
}
#: Files that list names for other files of their room.
TABLES = ("clusters/engine_internals.py", "system/isolated_start/start.py", "taskflow/airflow_names.py")
LIBRARIES = ("airflow.", "cloudpickle", "dask", "distributed", "joblib", "pyspark", "ray", "structlog")


@functools.cache
def files() -> dict[str, ast.Module]:
    """Return the package's files: read by the process that tests them, not by each that collects the tests."""
    return {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py")}


@functools.cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """Return the package's classes, by name."""
    found: dict[str, list[ast.ClassDef]] = {}
    for node in (node for tree in files().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        found.setdefault(node.name, []).append(node)
    return found


def test_airflow_is_imported_by_its_public_names() -> None:
    """But for one file, Airflow is imported by what it promises to keep."""
    for file, tree in files().items():
        if file != "taskflow/airflow_internals.py":
            found = {name for name, _ in _imports(tree) if name.partition(".")[0] == "airflow"}
            assert found <= PUBLIC, file


def test_private_modules_are_imported_where_they_are_guarded() -> None:
    """No other file imports a private module, or a private name, of another library."""
    for file, tree in files().items():
        if file not in GUARDED:
            found = [f"{module}.{name}" for module, name in _imports(tree) if module.startswith(LIBRARIES)]
            assert not [name for name in found if "._" in name], file


def test_private_attributes_are_used_where_they_are_guarded() -> None:
    """No other file uses a private attribute of what isn't its own."""
    for file, tree in files().items():
        if file not in GUARDED:
            assert _foreign(tree) <= STANDARD | OWN.get(file, set()), file


def test_every_guarded_name_is_looked_for() -> None:
    """What those files use of another library they look for by its name, or do without where it is missing."""
    tables = set().union(*(_texts(files()[file]) for file in TABLES))
    for file in GUARDED - CATCH:
        looked_for = tables | _texts(files()[file])
        assert _foreign(files()[file]) <= STANDARD | looked_for, file


def _texts(tree: ast.AST) -> set[str]:
    """Return the words of all texts in a file but its docstrings."""
    documented = (ast.Module, ast.ClassDef, *FUNCTIONS)
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {word for text in found if text not in docs for word in re.findall(r"\w+", text)}


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            yield from ((node.module, alias.name) for alias in node.names)


def _foreign(tree: ast.AST) -> set[str]:
    """Return private attributes of anything but what a class, or one that it derives from, has itself."""
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _private(node.attr)]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    return {node.attr for node in used} - own.union(*(_names_of(each) for each in classes))


def _names_of(kind: ast.ClassDef) -> set[str]:
    """Return the names that the objects of a class of this package have, by what it and its own bases set."""
    named = [node for each in kind.body for node in ast.walk(each)]
    found = {node.name for node in named if isinstance(node, FUNCTIONS)}
    found |= {node.id for node in named if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found |= {node.attr for node in named if isinstance(node, ast.Attribute) and _is_set_on_self(node)}
    return found.union(*(_names_of(base) for base in _bases(kind)))


def _is_set_on_self(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}


def _bases(kind: ast.ClassDef) -> list[ast.ClassDef]:
    names = {node.id for base in kind.bases for node in ast.walk(base) if isinstance(node, ast.Name)} - {kind.name}
    return [each for name in names for each in classes().get(name, ())]


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
        trackers.tracker()
    assert task(_same, backend="threading").map([1, 2]) == [1, 2]


def test_missing_name_of_cloudpickle() -> None:
    """A cloudpickle that no longer says which submodules a function uses is an error, and none is left behind."""
    with pytest.raises(ParallelTaskError, match=r"can't work with cloudpickle [\d.]+, which has no '_cloudpickle_sub"):
        submodules({"__globals__": {}})
    reduced: Any = cloudpickle.Pickler(io.BytesIO()).reducer_override(lambda: sys.path)
    assert submodules(reduced[2][1]) == []


class _Sent:
    pass


class _Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("kind", [_Sent, _Colour])
def test_other_reduction_of_a_class(kind: type) -> None:
    """A cloudpickle that sends a class in another way is an error of one sentence, not a class of the wrong parts."""
    make, args, state, _, _, fill = _dynamic_class_reduce(kind)
    assert parts_of_class(kind, (make, args, state, None, None, fill)) == (make, args, state, fill)
    for other in ((make, args[:-1], state), (make, (*args[1:], None), state), (make, args, state[0]), (make, args, ())):
        with pytest.raises(
            ParallelTaskError, match=r"can't work with cloudpickle [\d.]+, which has no definition of a"
        ):
            parts_of_class(kind, (*other, None, None, fill))


def test_other_reduction_of_a_function() -> None:
    """The same of a function."""
    reduced: Any = cloudpickle.Pickler(io.BytesIO()).reducer_override(lambda: sys.path)
    code, _, _, state, _ = parts_of_function(reduced)
    assert (type(code), state["__globals__"]) == (CodeType, {"sys": sys})
    for other in (reduced[:3], (reduced[0], reduced[1][1:], *reduced[2:]), (*reduced[:2], ({}, {}), *reduced[3:])):
        with pytest.raises(ParallelTaskError, match="which has no definition of a function"):
            parts_of_function(other)


STRUCTLOG = [
    *(("BoundLoggerBase", name) for name in ("_context", "_logger", "_processors", "_proxy_to_logger")),
    ("_config.BoundLoggerLazyProxy", "_logger_factory_args"),
]
#: A structlog as some other version could be, whose objects have the name no more, in a worker of a cluster.
OTHER_STRUCTLOG = """
from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.taskflow.cluster import worker_logs as guest_logs

def rename():
    import structlog
    owner = structlog
    for part in {owner!r}.split("."):
        owner = getattr(owner, part)
    owner.__annotations__ = {{key: kind for key, kind in owner.__annotations__.items() if key != {name!r}}}
    if {name!r} in vars(owner):
        delattr(owner, {name!r})
    owner.__setattr__ = lambda self, name, value: None if name == {name!r} else object.__setattr__(self, name, value)

when_imported("structlog", rename)
guest_logs.install()
try:
    import structlog
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
import logging, threading
logging.getLogger("other").warning("goes on")
"""


@pytest.mark.parametrize(("owner", "name"), STRUCTLOG)
def test_missing_name_of_structlog(owner: str, name: str) -> None:
    """Where structlog lacks a name, an item that imports it on a cluster fails with one sentence; all else goes on."""
    done = run_python(OTHER_STRUCTLOG.format(owner=owner, name=name))
    assert re.match(rf"ParallelTaskError: .* can't work with structlog [\d.]+, which has no .*\.{name}:", done.stdout)
    assert ". " not in done.stdout
    assert "goes on" in done.stderr


PLACES = [(module, name) for module, names in start.PLACES.items() for name in names]


@pytest.mark.parametrize(("module", "name"), PLACES)
def test_missing_name_of_loky(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """Where loky lacks what private processes need, its own are started instead."""
    loky: Any = importlib.import_module("joblib.externals.loky")
    executor = loky.ProcessPoolExecutor(1)
    owner: Any = importlib.import_module(module)
    *owners, last = name.split(".")
    for each in owners:
        owner = getattr(owner, each)
    for each in (owner, *type(owner).__mro__, *getattr(owner, "__mro__", ())):
        if last in vars(each):
            monkeypatch.delattr(each, last)
    start._isolated_process.cache_clear()
    try:
        assert not start.isolate_workers(executor)
    finally:
        start._isolated_process.cache_clear()


class _Declared:
    later: int


def test_what_is_declared_is_there() -> None:
    """A name that a class or module declares, and sets later, counts as there; what neither has doesn't."""
    assert has(_Declared, "later")
    assert not has(_Declared, "later.part")
    assert not has(_Declared, "never")
    assert str(gone("nothing", "a.b")).startswith("airflow-joblib ")
    assert "nothing of an unknown version, which has no a.b" in str(gone("nothing", "a.b"))
