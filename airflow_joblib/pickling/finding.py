"""Search modules: for an object by its name, and for the name of an object.

Nothing is imported for that, and no attribute of an object is read but those that its name consists of.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FunctionType

__all__ = ["closure_of", "find", "is_found", "name_in", "values_of"]


def find(module: str, name: str) -> Any:
    """Return what a dotted name means in a module that is loaded; None where it means nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def is_found(obj: object, module: object, name: str) -> bool:
    """Return whether *obj* is what a dotted name means in a module that is loaded."""
    return type(module) is str and find(module, name) is obj


def name_in(module: str, obj: object) -> str | None:
    """Return the name that a loaded module gives to *obj*; None if it gives none."""
    return next((name for name, value in list(values_of(module).items()) if value is obj), None)


def values_of(module: str) -> dict[str, Any]:
    """Return the names of a module that is loaded; those of another one are none."""
    return getattr(sys.modules.get(module), "__dict__", {})


def closure_of(function: FunctionType) -> dict[str, Any]:
    """Return what a function's closure holds by name, without cells that are not filled yet."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with suppress(ValueError):
            found[name] = cell.cell_contents
    return found
