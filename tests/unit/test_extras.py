"""The engines' packages are extras: a plain installation lacks them, and only an engine's own room imports them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_joblib
from tests.unit.helpers import EXTRAS

PACKAGE = Path(airflow_joblib.__path__[0])
ALL = set().union(*EXTRAS.values())
FILES = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Return the top-level names of all that a source imports, anywhere in it and for types as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                found.add(module)
    return {name.partition(".")[0] for name in found}


def of_room(file: str) -> set[str]:
    """Return what of the extras a file of the package may import: each engine has a room of its own."""
    room = file.removeprefix("clusters/").partition("/")[0] if file.startswith("clusters/") else ""
    return EXTRAS.get(room, set())


def test_only_its_room_imports_an_extra() -> None:
    """No module imports a package of an extra, but those of the engine that needs it."""
    foreign = {file: imported((PACKAGE / file).read_text()) & ALL - of_room(file) for file in FILES}
    assert not {file: packages for file, packages in foreign.items() if packages}


def test_every_room_is_looked_at() -> None:
    """Each engine's room imports what its extra brings, so that the test above means something."""
    for room, packages in EXTRAS.items():
        sources = [(PACKAGE / file).read_text() for file in FILES if file.startswith(f"clusters/{room}/")]
        assert packages & set().union(*map(imported, sources))


@pytest.mark.parametrize(
    "source",
    [
        "import ray.util",
        "def f():\n    from ray import util",
        "if TYPE_CHECKING:\n    import ray as engine",
        "import_module('ray.util')",
        "importlib.import_module('ray')",
        "__import__('ray')",
    ],
)
def test_every_way_to_import_is_seen(source: str) -> None:
    """However and wherever a package is imported, it is found."""
    assert imported(source) == {"ray"}


def test_relative_names_are_no_packages() -> None:
    """A module of this package that has an extra's name is none of it."""
    assert imported("from . import ray\nfrom .ray import x\nimport airflow_joblib.ray") == {"airflow_joblib"}
