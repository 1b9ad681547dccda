"""What is done when a module is imported, while other threads import others."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.system.import_hooks import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "module_of_import_hooks"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported, and finders as they were."""
    path = tmp_path / f"{NAME}.py"
    path.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setitem(sys.modules, NAME, sys)
    monkeypatch.delitem(sys.modules, NAME)
    return path


def test_look_for_the_module() -> None:
    """Whoever only looks whether there is such a module has not imported it yet."""
    came: list[int] = []
    when_imported(NAME, lambda: came.append(1))
    assert importlib.util.find_spec(NAME) is not None
    assert not came
    importlib.import_module(NAME)
    assert came == [1]
    importlib.reload(sys.modules[NAME])
    assert came == [1]


def test_import_that_fails(module: Path) -> None:
    """It is the next try that counts."""
    came: list[int] = []
    when_imported(NAME, lambda: came.append(1))
    module.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(NAME)
    module.write_text("value = 1")
    importlib.import_module(NAME)
    assert came == [1]


class Finder:
    """Finds nothing. Has another thread forget a module just as this one looks for another."""

    def __init__(self, forget: Callable[[], object]) -> None:
        self._forget = forget

    def find_spec(self, *_: object) -> None:
        self._forget()


def test_forgotten_while_another_is_imported() -> None:
    """That import finds its module as ever."""
    forget = when_imported("another_module", lambda: None)
    sys.meta_path.insert(1, Finder(forget))
    path_finder = next(finder for finder in sys.meta_path if "PathFinder" in str(finder))
    sys.meta_path[2:] = [path_finder]
    assert importlib.import_module(NAME).__name__ == NAME


def test_forgotten_while_it_is_imported() -> None:
    """An import that has come to the watcher by then goes on without it."""
    came: list[int] = []
    forget = when_imported(NAME, lambda: came.append(1))
    watcher = sys.meta_path[0]
    sys.meta_path.insert(0, Finder(forget))
    assert watcher.find_spec(NAME, None) is not None
    sys.meta_path.pop(0)
    forget()
    assert watcher.find_spec(NAME, None) is None
    importlib.import_module(NAME)
    assert not came
