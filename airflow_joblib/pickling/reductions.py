"""How single kinds of objects are pickled."""

from __future__ import annotations

import sys
import types
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "code_in_file",
    "reduce_stream",
    "reduce_whole_module",
    "travels",
]

#: Attributes of a module that its import has set.
_OF_FINDING = frozenset({"__builtins__", "__cached__", "__doc__", "__loader__", "__name__", "__spec__"})


def reduce_whole_module(module: ModuleType) -> Any:
    """Reduce a module to its attributes, but for what records where it was found."""
    kept = {name: value for name, value in vars(module).items() if name not in _OF_FINDING}
    return types.ModuleType, (module.__name__, module.__doc__), kept


def travels(obj: object) -> bool:
    """Return whether cloudpickle sends the module *obj* itself by value."""
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
