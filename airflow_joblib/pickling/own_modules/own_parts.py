"""How functions and modules by value travel to processes that have the same ``sys.path``: with their module's name.

::

    function ──► code, closure ─────────────────────────────┐
       │    ──► its globals: a module by value? ──► its name ├──► made, in the worker
       │    ──► the globals that it names, which must travel ┤
       └────► those that it may look up, if they can travel ─┘
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling.by_value import importable, left_behind
from airflow_joblib.pickling.finding import closure_of, is_found, values_of
from airflow_joblib.pickling.own_modules import worker_modules
from airflow_joblib.pickling.own_modules.asked_names import asks_for_all, words_in, words_of
from airflow_joblib.pickling.own_modules.bytecode import absolute_name, imports_of, names_of
from airflow_joblib.system.internals import gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_joblib.pickling.own_modules.worker_modules import Place

__all__ = ["OwnParts", "goes_by_value", "named_by", "parts_of_function", "rest_of"]

#: Attributes of a module that its import has set, and that its code may look at.
_OF_IMPORT = ("__name__", "__package__", "__path__", "__file__", "__doc__")
#: What takes seconds to import, and is requested by its name.
_SLOW = "airflow"
_FUNCTION = "definition of a function of the known parts"


def goes_by_value(name: object) -> bool:
    """Return whether a loaded module's functions are sent as what they are made of."""
    if type(name) is not str or name not in sys.modules:
        return False
    if name == "__main__" or name in cloudpickle.list_registry_pickle_by_value():
        return True
    return not importable(name) and left_behind(name) is not None


class _Module:
    """Stands for a module of the user's."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        attributes = {key: values[key] for key in _OF_IMPORT if key in values}
        if "__path__" in attributes:
            attributes["__path__"] = list(attributes["__path__"])
        self._parts = name, worker_modules.home_of(name), attributes

    def __reduce__(self) -> tuple[Any, ...]:
        return worker_modules.module, self._parts


class _Namespace:
    """Stands for its globals."""

    def __init__(self, module: _Module) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return vars, (self._module,)


class OwnParts:
    """What one pickle has of modules of the user's.

    Args:
        travelling: Returns those values that can be pickled; None where nothing is sent that needn't be.
    """

    def __init__(self, travelling: Callable[[dict[str, Any]], dict[str, Any]] | None) -> None:
        self._travelling = travelling
        self._modules: dict[str, _Module] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._given: dict[str, set[str]] = {}

    def reduce_module(self, module: ModuleType) -> tuple[Any, ...]:
        """Return how a module by value travels: by its name, and filled with what functions name of it."""
        return self._module(module.__name__).__reduce__()

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            self._modules[name] = _Module(name, values_of(name))
        return self._modules[name]

    def _namespace(self, name: str) -> _Namespace:
        if name not in self._namespaces:
            self._namespaces[name] = _Namespace(self._module(name))
        return self._namespaces[name]

    def reduce_function(self, function: FunctionType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return how a function by value travels, given cloudpickle's reduction of it to its parts."""
        module = worker_modules.module_of(function.__globals__)
        if module is None or not goes_by_value(module.__name__):
            return reduced
        code, closure, attributes, state, set_state = parts_of_function(reduced)
        name = module.__name__
        used = state["__globals__"]
        rest = self._rest(name, rest_of(function, used))
        state = {**state, "__globals__": _ordered(vars(module), {**rest, **used})}
        place = place_of(function)
        more = self._named(place, function)
        for held, names in named_by(function, used):
            more.append((self._namespace(held.__name__), {name: vars(held)[name] for name in names}))
        made = self._namespace(name), code, closure, place
        given = set_state, (attributes, state), more
        return worker_modules.make_function, made, given, None, None, worker_modules.fill_function

    def _named(self, place: Place | None, obj: object) -> list[tuple[_Namespace, dict[str, Any]]]:
        """Return what puts an object under its name into its module."""
        if place is None or "." in place[2]:
            return []
        return [(self._namespace(place[1]), {place[2]: obj})]

    def of_class(self, cls: type) -> list[tuple[_Namespace, dict[str, Any]]]:
        """Return what goes into its module with a class: itself, and what its annotations name."""
        name = cls.__module__
        if not goes_by_value(name) or not isinstance(sys.modules[name], ModuleType):
            return []
        annotated = words_in(vars(cls).get("__annotations__", {}).values())
        rest = self._rest(name, {key: value for key, value in values_of(name).items() if key in annotated})
        return [*self._named(place_of(cls), cls), *([(self._namespace(name), rest)] if rest else [])]

    def _rest(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return what of *values* can travel and has not been sent yet."""
        given = self._given.setdefault(name, set())
        new = {key: value for key, value in values.items() if key not in given}
        if not new or self._travelling is None:
            return {}
        given.update(new)
        return self._travelling(new)


def parts_of_function(reduced: tuple[Any, ...]) -> tuple[Any, Any, dict[str, Any], dict[str, Any], Any]:
    """Return code, closure, attributes, state and its setter from cloudpickle's reduction of a function.

    Raises:
        ParallelTaskError: This cloudpickle sends it in another way.
    """
    try:
        (code, _, _, _, closure), (attributes, state), set_state = reduced[1], reduced[2], reduced[5]
    except (IndexError, TypeError, ValueError):
        raise gone("cloudpickle", _FUNCTION) from None
    if type(code) is not CodeType or "__globals__" not in state:
        raise gone("cloudpickle", _FUNCTION)
    return code, closure, attributes, state, set_state


def place_of(obj: Any) -> Place | None:
    """Return where a function or class by value is found; None where its name leads elsewhere, or it was sent here."""
    module, name = obj.__module__, obj.__qualname__
    if not goes_by_value(module) or not is_found(obj, module, name) or not worker_modules.is_home(module):
        return None
    return worker_modules.home_of(module), module, name


def rest_of(function: FunctionType, used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the globals that a function may look up, beside those that it uses."""
    values, code = function.__globals__, function.__code__
    if asks_for_all(code):
        names = {name for name, value in values.items() if not (name.startswith("__") or _is_slow(value))}
    else:
        names = set()
    names |= {name for name in words_of(code) & values.keys() if not _is_of_airflow(values[name])}
    return {name: value for name, value in list(values.items()) if name in names and name not in used}


def _is_slow(value: Any) -> bool:
    """Return whether a worker that loads a value would import Airflow for it, be it for what a function names."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if _is_of_airflow(each):
            return True
        waiting.extend(_named_values(each))
    return False


def _is_of_airflow(value: Any) -> bool:
    return any(name.partition(".")[0] == _SLOW for name in _homes(value))


def _homes(value: Any) -> Iterator[str]:
    """Yield the names of the modules that a value itself comes from."""
    if type(value) is ModuleType:
        yield value.__name__
    elif type(value) is FunctionType:
        yield str(value.__module__)
    kind: Any = value if issubclass(type(value), type) else type(value)
    yield from (str(each.__module__) for each in kind.__mro__)


def _named_values(value: Any) -> Iterator[Any]:
    """Yield the globals that a function names, the methods of a class, or the function that an object wraps."""
    if type(value) is FunctionType:
        globals_ = value.__globals__
        yield from (globals_[name] for name in names_of(value.__code__) if name in globals_)
    elif issubclass(type(value), type):
        yield from (each for each in vars(value).values() if type(each) is FunctionType)
    if type(value) is not ModuleType and (wrapped := getattr(value, "__dict__", {}).get("__wrapped__")) is not None:
        yield wrapped


def _ordered(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return globals in the module's order, in which its classes were made."""
    return {name: wanted[name] for name in [*values] if name in wanted}


def named_by(function: FunctionType, used: Mapping[str, Any]) -> list[tuple[ModuleType, list[str]]]:
    """Return the modules by value that a function has as objects or imports, and what it names of each."""
    held = {id(each): each for each in (*used.values(), *closure_of(function).values()) if type(each) is ModuleType}
    names = names_of(function.__code__)
    for each in imports_of(function.__code__):
        module = sys.modules.get(absolute_name(each, function.__globals__) or "")
        if type(module) is ModuleType:
            held[id(module)] = module
    found = [each for each in held.values() if sys.modules.get(each.__name__) is each and goes_by_value(each.__name__)]
    return [(each, [name for name in list(vars(each)) if name in names and name[:2] != "__"]) for each in found]
