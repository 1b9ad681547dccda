"""Objects that are nothing but themselves: ``dataclasses.MISSING``, ``UNSET = object()``, an instance without state.

Code tests with ``is`` whether it has one. So each travels by its name, and is one object in a process, whatever brings
it.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import sys
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling.finding import name_in, values_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["has_no_state", "imported_singleton", "made_of_nothing", "name_of", "sent_singleton"]

#: ``Py_TPFLAGS_HEAPTYPE``.
_HEAP_TYPE = 1 << 9

#: Those made here, by module, name and type, since their module is not here; as long as somebody has them, if that can
#: be known.
_made: MutableMapping[tuple[str, str, type], object] = weakref.WeakValueDictionary()
_made_for_good: MutableMapping[tuple[str, str, type], object] = {}
#: The bare objects of all modules by identity, and how many modules there were when they were gathered.
_bare: dict[int, tuple[object, str, str]] = {}
_gathered = 0


def has_no_state(obj: object, kind: type) -> bool:
    """Return whether *obj* differs from another one of its type only by its identity."""
    return kind is object or (_makes_plain(kind) and not getattr(obj, "__dict__", None))


@functools.lru_cache(maxsize=4096)
def _makes_plain(kind: Any) -> bool:
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and all(base is object or _of_python(base) for base in kind.__mro__)
    )


def _of_python(kind: Any) -> bool:
    """Return whether a class is defined in Python, where its objects have no room but for ``__dict__``."""
    return bool(kind.__flags__ & _HEAP_TYPE) and not vars(kind).get("__slots__")


@functools.lru_cache(maxsize=4096)
def made_of_nothing(kind: Any) -> bool:
    """Return whether an object of a type without hooks of pickle's is whole as soon as it is there."""
    hooks = ("__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
    own = (name for name in hooks if getattr(kind, name, None) is not getattr(object, name, None))
    return kind not in copyreg.dispatch_table and not any(own)


def name_of(obj: object, kind: type) -> tuple[str, str] | None:
    """Return the module and the name in it of an object without state; None if it is in none."""
    for module, name, of in (*_made.keys(), *_made_for_good.keys()):
        if of is kind and _store(kind).get((module, name, of)) is obj:
            return module, name
    by_value = [*cloudpickle.list_registry_pickle_by_value(), "__main__"]  # each time: a DAG file may be loading still
    modules = by_value if kind is object else [kind.__module__]
    named = ((module, name_in(module, obj)) for module in modules)
    found = next(((module, name) for module, name in named if name is not None), None)
    return _name_of_bare(obj) if found is None and kind is object else found


def _name_of_bare(obj: object) -> tuple[str, str] | None:
    """Look among the bare objects of all modules, gathered anew when there are other modules than before."""
    global _gathered  # noqa: PLW0603 - there is one table
    if len(sys.modules) != _gathered:
        _gathered = len(sys.modules)
        for known, module in list(sys.modules.items()):
            for name, value in list(vars(module).items()) if type(module) is ModuleType else ():
                if type(value) is object:
                    _bare.setdefault(id(value), (value, known, name))
    value, module_name, name = _bare.get(id(obj), (None, "", ""))
    return (module_name, name) if value is obj else None


def imported_singleton(module: str, name: str) -> object:
    """Return the object of a module that can be imported here."""
    return getattr(importlib.import_module(module), name)


def sent_singleton(module: str, name: str, kind: type) -> object:
    """Return the object of a module that travels by value: its own where it is here, else one that all share."""
    here = values_of(module).get(name)
    if type(here) is kind:
        return here
    store, key = _store(kind), (module, name, kind)
    made = store.get(key)
    if made is None:
        made = store[key] = object.__new__(kind)
    return made


def _store(kind: Any) -> MutableMapping[tuple[str, str, type], object]:
    return _made if kind.__weakrefoffset__ else _made_for_good
