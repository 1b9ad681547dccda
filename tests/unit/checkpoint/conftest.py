"""What the tests of checkpoints share: a DAG file as Airflow loads it."""

from __future__ import annotations

import hashlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = """
from dataclasses import dataclass
@dataclass
class Order:
    parts: object
def clean(order): return order
"""


@pytest.fixture
def dag_file() -> Iterator[Callable[[str], Any]]:
    """Make a module as Airflow makes it of the DAG file at a path, under a name that the path gives it."""
    made: list[str] = []

    def make(path: str) -> Any:
        name = f"unusual_prefix_{hashlib.sha1(path.encode()).hexdigest()}_shop"
        made.append(name)
        module = sys.modules[name] = ModuleType(name)
        exec(SOURCE, vars(module))
        return module

    yield make
    for name in made:
        sys.modules.pop(name, None)
