"""DAG files as an executor loads them, and modules that only this process has."""

from __future__ import annotations

import hashlib
import sys
import textwrap
import threading
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.pickling import sent_by_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _execute(name: str, file: Path, source: str) -> types.ModuleType:
    text = textwrap.dedent(source)
    file.write_text(text)
    module = types.ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    exec(compile(text, str(file), "exec", dont_inherit=True), vars(module))
    return module


def _close(module: types.ModuleType) -> None:
    """Close what the module has opened and keeps as a global."""
    for name in ("conn", "opened"):
        if name in vars(module):
            vars(module)[name].close()


@pytest.fixture
def dag_file(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Load a DAG file's source under the name that Airflow gives it."""
    loaded: list[types.ModuleType] = []

    def load(source: str, stem: str = "my_dag") -> types.ModuleType:
        file = tmp_path / f"{stem}.py"
        name = f"unusual_prefix_{hashlib.sha1(str(file).encode()).hexdigest()}_{stem}"
        module = _execute(name, file, source)
        loaded.append(module)
        return module

    yield load
    for module in loaded:
        del sys.modules[module.__name__]
        _close(module)


@pytest.fixture
def ghost(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Make a module named ``ghost`` that no other process can import."""

    def make(source: str) -> types.ModuleType:
        module = _execute("ghost", tmp_path / "not_on_the_path.py", source)
        module.__file__ = None
        return module

    yield make
    sys.modules.pop("ghost", None)


@pytest.fixture
def by_value() -> Iterator[None]:
    """Send by value what this folder's test modules define."""
    names = [name for name in sys.modules if "unit.picklability" in name]
    with sent_by_value([sys.modules[name] for name in names]):
        yield


@contextmanager
def fake_module(name: str, **members: object) -> Iterator[types.ModuleType]:
    """Have a module in ``sys.modules`` for as long as the block runs."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]


@pytest.fixture
def lock() -> Any:
    """Give something that can't be pickled."""
    return threading.Lock()
