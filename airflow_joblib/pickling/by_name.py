"""Pickle between a task and the workers that were forked from it: by name what both have, since both have the same.

::

    class, function ──► found under its name in a module that was loaded before the fork? ──► its name
       │                wrapped by what is found there (a decorator)?                      ──► the steps to it
       │                there before the fork, without a name?                             ──► its identity, or its key
       └──────────────► made since ──► by value; a function with the globals of the module itself, not a copy of them

So classes keep their identity, and so do objects of a module that have no state, such as ``UNSET = object()``.
"""

from __future__ import annotations

import importlib
import io
import sys
from operator import attrgetter
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.finding import find, is_found, name_in
from airflow_joblib.pickling.inherited import object_of
from airflow_joblib.pickling.pickler import Pickler, loads
from airflow_joblib.pickling.singletons import has_no_state

if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable
    from types import CodeType

    from airflow_joblib.pickling.inherited import Inherited

__all__ = ["ByNamePickler", "dumps_by_name"]

#: What leads from a decorator's object to the function that it wraps.
_STEPS = ("function", "__wrapped__", "func", "fget", "__func__")
_MOST_STEPS = 5


def dumps_by_name(obj: object, shared: Inherited, *, verify: bool = False) -> bytes:
    """Pickle *obj* for a process that shares all from before a fork.

    Args:
        obj: What to send.
        shared: What both processes have.
        verify: Load the bytes again where loading them runs code of the user.

    Raises:
        Exception: Whatever pickling or loading raises.
    """
    with io.BytesIO() as file:
        pickler = ByNamePickler(file, shared)
        pickler.dump(obj)
        data = file.getvalue()
    if verify and pickler.unsure:
        loads(data)
    return data


class ByNamePickler(Pickler):
    """Pickles by name, or by identity, what the receiver has as well."""

    def __init__(
        self,
        file: io.BytesIO,
        shared: Inherited,
        *,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, shared.classes, whole=False, buffer_callback=buffer_callback)
        self._shared = shared

    def reducer_override(self, obj: Any) -> Any:
        """Reduce *obj*, or leave it to pickle with ``NotImplemented``."""
        if self._shared.objects.get(id(obj)) is obj:
            return object_of, (id(obj),)
        kind: Any = type(obj)
        if kind is FunctionType or issubclass(kind, type):
            reduced = self._reduce_by_name(obj, kind)
        elif kind is ModuleType:
            reduced = self._reduce_by_module(obj)
        elif has_no_state(obj, kind):
            reduced = self._reduce_single(obj, kind)
        else:
            reduced = None
        return super().reducer_override(obj) if reduced is None else reduced

    def _reduce_by_name(self, obj: Any, kind: Any) -> Any:
        module, name = obj.__module__, obj.__qualname__
        if type(module) is not str or module not in self._shared.modules:
            return None
        found = find(module, name)
        if found is obj:
            return NotImplemented if self._shared.had(obj) else None
        steps = _steps_to(obj, found)
        if steps is not None:
            return _follow, (module, name, steps)
        if kind is FunctionType and vars(sys.modules[module]) is obj.__globals__:
            return _reduce_function(obj, module)
        return None

    def _reduce_by_module(self, module: ModuleType) -> Any:
        name = module.__name__
        if name in self._shared.modules and sys.modules.get(name) is module:
            return importlib.import_module, (name,)
        return None

    def _reduce_single(self, obj: Any, kind: Any) -> Any:
        """Reduce an object without state to its name in the module of its type; a bare ``object()``, in any module."""
        names = [kind.__module__] if kind is not object else list(self._shared.modules)
        for module in names:
            if (name := name_in(module, obj)) is not None:
                return _follow, (module, name, ())
        return None

    def _reduce_named(self, obj: Any) -> Any:
        reduced = obj.__reduce_ex__(4)
        module = getattr(obj, "__module__", None)
        if type(reduced) is str and module in self._shared.modules and is_found(obj, module, reduced):
            return reduced
        return super()._reduce_named(obj)


def _steps_to(obj: object, found: Any) -> tuple[str, ...] | None:
    """Return the attributes that lead from what a name means now to *obj*; None where none do."""
    steps: list[str] = []
    while found is not None and len(steps) < _MOST_STEPS:
        step = next((each for each in _STEPS if getattr(found, each, None) is not None), None)
        if step is None:
            return None
        found = getattr(found, step)
        steps.append(step)
        if found is obj:
            return tuple(steps)
    return None


def _follow(module: str, name: str, steps: tuple[str, ...]) -> Any:
    """Return what steps lead to from what a name means in the receiver, which had that module before the fork.

    Raises:
        AttributeError: It has been set since.
    """
    return attrgetter(".".join([name, *steps]))(sys.modules[module])


def _reduce_function(function: FunctionType, module: str) -> Any:
    """Reduce a closure or a lambda to its parts, but for the globals, which the receiver has."""
    cells = function.__closure__ or ()
    state = (
        function.__defaults__,
        function.__kwdefaults__,
        function.__dict__,
        function.__annotations__,
        function.__doc__,
        [_content(cell) for cell in cells],
    )
    made = (function.__code__, module, function.__name__, function.__qualname__, len(cells))
    return _make_function, made, state, None, None, _fill_function


def _content(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # it is not filled yet
        return ()


def _make_function(code: CodeType, module: str, name: str, qualname: str, cells: int) -> FunctionType:
    namespace = vars(importlib.import_module(module))
    made = FunctionType(code, namespace, name, None, tuple(CellType() for _ in range(cells)))
    made.__qualname__ = qualname
    return made


def _fill_function(function: FunctionType, state: tuple[Any, ...]) -> None:
    function.__defaults__, function.__kwdefaults__, own, function.__annotations__, function.__doc__, cells = state
    function.__dict__.update(own)
    for cell, content in zip(function.__closure__ or (), cells, strict=True):
        if content:
            cell.cell_contents = content[0]
