"""Modules of the user's in a fresh worker, under the names that they have in the task, made of what has been sent.

::

    function ──► its globals ──► in the task itself:   those of the module, which stay as they are
       │                    ──► in a fresh worker:     those of a module in ``sys.modules`` that holds what has arrived
       │                    ──► in any other process:  a namespace for the one pickle
       └──► found by its name where it comes from? ──► by its name in the worker too, and back in the task

So ``globals()``, ``pickle``, ``typing.get_type_hints`` and processes that an item forks find what they find in the
task.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import sys
import uuid
import weakref
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling.by_value import source_of
from airflow_joblib.pickling.finding import find, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Place",
    "enable",
    "fill_function",
    "home_of",
    "is_home",
    "make_function",
    "module",
    "module_of",
    "named",
    "place_of",
    "put",
]

#: Process, module and name: where an object is found.
Place = tuple[str, str, str]

#: Stands for this process and those that are forked from it.
_HOME = uuid.uuid4().hex
_fresh_worker = False
_made: dict[str, ModuleType] = {}
_homes: dict[str, str] = {}
_functions: dict[Place, FunctionType] = {}
_places: weakref.WeakKeyDictionary[FunctionType, Place] = weakref.WeakKeyDictionary()
_fresh: weakref.WeakSet[FunctionType] = weakref.WeakSet()
_rest: dict[str, ModuleType] = {}


def enable() -> None:
    """Have modules in this process that hold what is sent to it. It must live for one run."""
    global _fresh_worker  # noqa: PLW0603 - a process is one or it isn't
    _fresh_worker = True


def home_of(name: str) -> str:
    """Return the process that a module comes from."""
    return _homes.get(name, _HOME)


def is_home(name: str) -> bool:
    """Return whether a module is one that this process has by itself."""
    return name not in _homes


def module_of(namespace: Mapping[str, Any]) -> ModuleType | None:
    """Return the module that has these globals; None where no module that is known by its name has them."""
    name = namespace.get("__name__")
    found = _made.get(name) or sys.modules.get(name) if type(name) is str else None
    return found if isinstance(found, ModuleType) and vars(found) is namespace else None


def place_of(function: FunctionType) -> Place | None:
    """Return where a function is found that was sent here."""
    return _places.get(function)


def module(name: str, home: str, attributes: Mapping[str, Any]) -> ModuleType:
    """Return the module of a name: the one that is here, or the one that holds what is sent.

    Args:
        name: Its dotted name.
        home: The process that it comes from.
        attributes: What its import has set.
    """
    here = sys.modules.get(name)
    if home == _HOME and isinstance(here, ModuleType):
        return here
    found = _made.get(name)
    if found is None:
        found = ModuleType(name)
        vars(found).update(attributes, __builtins__=vars(builtins))
        if _fresh_worker:
            _made[name], _homes[name] = found, home
            vars(found)["__getattr__"] = functools.partial(_get_other, name)
            if name == "__main__" or name not in sys.modules:
                _publish(found)
    return found


def _publish(made: ModuleType) -> None:
    """Let everybody find a module, but for what starts workers of its own in turn: there its parts go by value."""
    name = made.__name__
    sys.modules[name] = made
    if name == "__main__":
        return
    cloudpickle.register_pickle_by_value(made)
    parent, _, last = name.rpartition(".")
    if parent:
        with suppress(Exception):  # the package's own code runs; who imports it will see the error
            setattr(importlib.import_module(parent), last, made)


def _get_other(name: str, attribute: str) -> Any:
    """Return an attribute that was not sent: that of the module as its own file makes it, for others that import it."""
    source = None if attribute.startswith("__") else source_of(name)
    code = None if source is None else source.loader.get_code(name)  # type: ignore[union-attr]
    if source is not None and code is not None and attribute in code.co_names:
        if name not in _rest:
            _rest[name] = importlib.util.module_from_spec(source)
            exec(code, vars(_rest[name]))  # noqa: S102 - as an import does, which would find what was sent
        if attribute in vars(_rest[name]):
            return vars(_rest[name])[attribute]
    msg = (
        f"module {name!r} was sent to this worker without {attribute!r}, which no code that was sent along names. Name "
        "it in the function."
    )
    raise AttributeError(msg)


def named(place: Place) -> Any:
    """Return what is found at a place, here or where it was sent from."""
    home, name, qualname = place
    return find(name, qualname) if home == _HOME else _functions[place]


def put(namespace: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set those globals that aren't there yet; what others have set stays, and all of it in the task itself."""
    if not _is_own(namespace):
        namespace.update({name: value for name, value in values.items() if name not in namespace})


def _is_own(namespace: Mapping[str, Any]) -> bool:
    name = str(namespace.get("__name__"))
    return name not in _made and values_of(name) is namespace


def make_function(
    namespace: dict[str, Any], code: CodeType, closure: tuple[Any, ...] | None, place: Place | None
) -> FunctionType:
    """Make a function with these globals, or return the one that is found at its place."""
    if place is not None:
        home, name, qualname = place
        known = find(name, qualname) if home == _HOME else _functions.get(place)
        if type(known) is FunctionType:
            return known
    made = FunctionType(code, namespace, None, None, closure)
    _fresh.add(made)
    if place is not None and _fresh_worker:
        _functions[place], _places[made] = made, place
    return made


def fill_function(
    function: FunctionType,
    given: tuple[Callable[..., None], tuple[dict[str, Any], dict[str, Any]], Iterable[tuple[dict[str, Any], Any]]],
) -> None:
    """Fill in a function that was just made, and modules with what came along; one that was here stays as it is."""
    set_state, (attributes, state), more = given
    for namespace, values in more:
        put(namespace, values)
    if function not in _fresh:
        return
    _fresh.discard(function)
    own = function.__globals__
    put(own, state["__globals__"])
    before = own.get("__builtins__")
    set_state(function, (attributes, {**state, "__globals__": {}}))
    if before is not None:
        own["__builtins__"] = before
