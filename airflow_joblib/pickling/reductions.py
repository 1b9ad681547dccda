"""How single kinds of objects are pickled, and the errors for those that must not be."""

from __future__ import annotations

import pickle
import sys
import types
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "RefusedError",
    "UnimportableError",
    "code_in_file",
    "dotted_name",
    "reduce_stream",
    "reduce_whole_module",
    "travels",
]

#: Attributes of a module that its import has set.
_OF_FINDING = frozenset({"__builtins__", "__cached__", "__doc__", "__loader__", "__name__", "__spec__"})


class RefusedError(pickle.PicklingError):
    """An object that would pickle but must not travel. *kind* is the object's type."""

    def __init__(self, kind: type) -> None:
        super().__init__(dotted_name(kind))
        self.kind = kind


class UnimportableError(pickle.PicklingError):
    """A reference to a module that a worker can't import."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


def dotted_name(kind: type) -> str:
    """Return the dotted name of a type, without the module for a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def reduce_whole_module(module: ModuleType) -> Any:
    """Reduce a module to its attributes, but for what tells where it was found."""
    kept = {name: value for name, value in vars(module).items() if name not in _OF_FINDING}
    return types.ModuleType, (module.__name__, module.__doc__), kept


def travels(obj: object) -> bool:
    """Tell whether cloudpickle sends the module *obj* itself by value."""
    if type(obj) is not ModuleType:
        return False
    name = obj.__name__
    return name == "__main__" or name not in sys.modules or name in cloudpickle.list_registry_pickle_by_value()


def reduce_stream(obj: object) -> Any:
    """Reduce what must not travel: the standard streams to the worker's own, and anything else not at all."""
    for name in ("stdout", "stderr"):
        if obj is getattr(sys, name):
            return getattr, (sys, name)
    raise RefusedError(type(obj))


def code_in_file(name: str, make: Callable[..., CodeType], args: tuple[Any, ...]) -> CodeType:
    """Make code that tracebacks, logs and warnings show as that of a file, whatever cloudpickle calls it."""
    return make(*args).replace(co_filename=name)
