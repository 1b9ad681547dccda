"""List what an object is pickled from, each part with the segment of the path that leads to it.

Everything is read from the object as pickle reads it, so nothing runs that pickling it would not run: no property, no
``__repr__``, no ``__eq__``. Where pickle is given a value with no name, the name is that of the attribute which holds
the very same object.
"""

from __future__ import annotations

import functools
import io
import types
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling.by_value import instance_dict
from airflow_joblib.pickling.culprits.containers import Child, of_items, of_sequence, of_set, short
from airflow_joblib.pickling.culprits.objects import of_object
from airflow_joblib.pickling.finding import closure_of
from airflow_joblib.pickling.named import is_dispatcher
from airflow_joblib.pickling.own_modules.dependencies import current_dependencies
from airflow_joblib.pickling.own_modules.modules_of import submodules
from airflow_joblib.pickling.own_modules.own_parts import named_by
from airflow_joblib.pickling.pickler import Pickler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["children_of"]


def children_of(obj: Any) -> Iterator[Child]:
    """Return what *obj* is pickled from; raises what reducing it raises."""
    kind = type(obj)
    if issubclass(kind, type):
        return _of_class(obj)
    special = _SPECIAL.get(kind)
    return special(obj) if special else of_object(obj)


def _raw_reduced(obj: object) -> Any:
    """Return cloudpickle's own reduction of a function or class, or None where it goes by reference."""
    reduced = cloudpickle.Pickler.reducer_override(Pickler(io.BytesIO(), whole=False), obj)
    return None if reduced is NotImplemented else reduced


def _of_function(function: types.FunctionType) -> Iterator[Child]:
    reduced = _raw_reduced(function)
    if reduced is None:
        return
    if is_dispatcher(function):
        yield from (Child(f"registered for {short(kind)}", each) for kind, each in function.registry.items())  # type: ignore[attr-defined]
        yield from (Child("", kind) for kind in function.registry)  # type: ignore[attr-defined]
        return
    attributes, state = reduced[2]
    yield from _named("closure", closure_of(function))
    yield from _named("global", state.get("__globals__", {}))
    yield from _of_defaults(function)
    yield from _named("attribute", attributes)
    yield from _named("annotation", state.get("__annotations__") or {})
    for module in submodules(state):
        yield Child(f"module {module.__name__}", module)
    for module in needs.imported_by(function) if (needs := current_dependencies()) else ():
        yield Child(f"import {module.__name__}", module)
    for module, names in named_by(function, state.get("__globals__", {})) if needs is None else ():
        yield from _named(f"module {module.__name__} → attribute", {name: vars(module)[name] for name in names})


def _of_defaults(function: types.FunctionType) -> Iterator[Child]:
    defaults = function.__defaults__ or ()
    code = function.__code__
    names = code.co_varnames[: code.co_argcount][-len(defaults) :]
    yield from _named("default", dict(zip(names, defaults, strict=False)))
    yield from _named("default", function.__kwdefaults__ or {})


def _named(word: str, values: Mapping[str, object]) -> Iterator[Child]:
    for name, value in values.items():
        yield Child(f"{word} {name!r}", value)


def _of_method(method: types.MethodType) -> Iterator[Child]:
    yield Child("", method.__func__)
    yield Child("self", method.__self__)


def _of_builtin(function: types.BuiltinFunctionType) -> Iterator[Child]:
    if type(function.__self__) is not types.ModuleType:
        yield Child("self", function.__self__)


def _of_partial(partial: functools.partial[object]) -> Iterator[Child]:
    yield Child("", partial.func)
    for index, value in enumerate(partial.args):
        yield Child(f"argument {index}", value)
    yield from _named("argument", partial.keywords)
    yield from _named("attribute", instance_dict(partial))


def _of_module(module: types.ModuleType) -> Iterator[Child]:
    if (needs := current_dependencies()) and needs.owns(module):
        yield from _named("attribute", needs.sent_of(module))
        return
    reduced: Any = Pickler.dispatch_table[types.ModuleType](module)
    for part in reduced[1][1:]:  # the name, and of a module by value its attributes
        yield from _named("attribute", part)


def _of_class(cls: type) -> Iterator[Child]:
    reduced = _raw_reduced(cls)
    if type(reduced) is not tuple or len(reduced) < 3:  # noqa: PLR2004 - by reference, or by a maker and its arguments
        return
    for part in reduced[1]:
        yield from _of_class_argument(cls, part)
    for name, value in reduced[2][0].items():
        yield Child(f"{short(cls)}.{name}", value)


def _of_class_argument(cls: type, part: object) -> Iterator[Child]:
    """Yield what a class is made from: metaclass, bases, keyword arguments or an enum's members."""
    if type(part) is tuple:
        yield from (Child(f"base {short(base)}", base) for base in part if issubclass(type(base), type))
    elif type(part) is dict:
        yield from (Child(f"{short(cls)}.{name}", value) for name, value in part.items())
    elif issubclass(type(part), type):
        yield Child("metaclass", part)


_SPECIAL: dict[type, Any] = {
    list: of_sequence,
    tuple: of_sequence,
    set: of_set,
    frozenset: of_set,
    dict: lambda obj: of_items(obj.items()),
    types.FunctionType: _of_function,
    types.MethodType: _of_method,
    types.BuiltinFunctionType: _of_builtin,
    types.ModuleType: _of_module,
    functools.partial: _of_partial,
}
