"""Pickle and unpickle what crosses a process boundary.

cloudpickle does the work; this adds three things::

    obj ──► Pickler ──► bytes      1. a class that travels by value has a key: its definition is sent once, afterwards
             │                        the key alone, and it comes back as the very class it was
             ├─ classes sent       2. what dumps but must not travel (an open file, a DAG) or can't be imported by a
             └─ unsure?               worker is refused
                                   3. *unsure* tells whether loading runs code of the user, and so must be tried

A class by value that comes back is otherwise a copy, and cloudpickle then sets the copy's methods on the class of the
process that receives it.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import uuid
import weakref
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.picklability.by_value import importable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pickler", "RefusedError", "UnimportableError", "dotted_name", "dumps", "loads"]

loads = pickle.loads

_keys: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_fresh: weakref.WeakSet[type] = weakref.WeakSet()

#: Packages whose objects load without running code of the user.
_TRUSTED = frozenset(
    {"builtins", "collections", "datetime", "decimal", "fractions", "functools", "ipaddress", "numpy", "operator"}
    | {"pandas", "pathlib", "polars", "pyarrow", "re", "types", "typing", "uuid", "zoneinfo", "pendulum", "_io"}
)


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


class Pickler(cloudpickle.Pickler):
    """Pickles by value what only this process knows, refuses what a worker could not use.

    Attributes:
        by_key: Classes that the receiver has already, or will have before it loads this. With *collect* every class
            met that travels by value is added to it and only its key is written.
        unsure: Whether loading runs code of the user.
    """

    def __init__(self, file: io.BytesIO, by_key: set[type] | None = None, *, collect: bool = False) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.by_key: set[type] = set() if by_key is None else by_key
        self.collect = collect
        self.unsure = False

    def reducer_override(self, obj: Any) -> Any:
        """Reduce *obj*, or leave it to pickle with ``NotImplemented``."""
        kind = type(obj)  # not isinstance: that asks obj.__class__, which may be a property of the user
        if issubclass(kind, type):
            return self._reduce_class(obj)
        if kind is FunctionType:
            return self._reduce_reference(obj, obj.__module__)
        if kind is ModuleType:
            return self._reduce_reference(obj, obj.__name__)
        if _refused(kind):
            raise RefusedError(kind)
        if not _loads_plainly(kind):
            self.unsure = True
        return NotImplemented

    def _reduce_class(self, cls: type) -> Any:
        if cls in self.by_key:
            return _class_of_key, (_keys[cls],)
        reduced = self._reduce_reference(cls, cls.__module__)
        if not _by_value(reduced):
            return reduced
        if self.collect:
            self.by_key.add(cls)
            return _class_of_key, (_key_of(cls),)
        make, args, state, _, _, set_state = reduced
        return _receive_class, (_key_of(cls), make, args), (set_state, state), None, None, _set_class_state

    def _reduce_reference(self, obj: Any, module: str | None) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and module and not _travels(obj) and not importable(module):
            raise UnimportableError(module)
        return reduced


def _by_value(reduced: object) -> bool:
    """Tell whether cloudpickle reduced a class to its definition: skeleton, arguments, state and its setter."""
    return isinstance(reduced, tuple) and len(reduced) == 6  # noqa: PLR2004 - the length that pickle documents


def _travels(obj: object) -> bool:
    """Tell whether cloudpickle sends the module *obj* itself by value."""
    if type(obj) is not ModuleType:
        return False
    name = obj.__name__
    return name == "__main__" or name not in sys.modules or name in cloudpickle.list_registry_pickle_by_value()


def _key_of(cls: type) -> str:
    key = _keys.get(cls)
    if key is None:
        key = _keys[cls] = uuid.uuid4().hex
        _classes[key] = cls
    return key


def _class_of_key(key: str) -> type:
    return _classes[key]


def _receive_class(key: str, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Return the class that *key* stands for in this process, made now if it is new here."""
    cls = _classes.get(key)
    if cls is None:
        cls = make(*args)
        _keys[cls] = key
        _classes[key] = cls
        _fresh.add(cls)
    return cls


def _set_class_state(cls: type, state: tuple[Callable[[type, Any], None], Any]) -> None:
    """Fill in a class that was just made; one that was here before is left as it is."""
    if cls in _fresh:
        _fresh.discard(cls)
        set_state, values = state
        set_state(cls, values)


@functools.lru_cache(maxsize=4096)
def _refused(kind: type) -> bool:
    from airflow_joblib.picklability.advice import is_refused  # noqa: PLC0415 - a worker needs no advice

    return is_refused(kind)


@functools.lru_cache(maxsize=4096)
def _loads_plainly(kind: type) -> bool:
    """Tell whether loading an object of this type runs no code of the user."""
    if kind.__module__.partition(".")[0] in _TRUSTED or issubclass(kind, Enum):
        return True
    if kind in {BuiltinFunctionType, MethodType}:
        return True
    return all(
        getattr(kind, name, None) is getattr(object, name, None)
        for name in ("__new__", "__reduce__", "__reduce_ex__", "__setstate__", "__getnewargs__")
    ) and not (hasattr(kind, "__getnewargs_ex__") or kind.__setattr__ is not object.__setattr__)


def dumps(obj: object, by_key: set[type] | None = None, *, collect: bool = False, verify: bool = False) -> bytes:
    """Pickle *obj* for another process.

    Args:
        obj: What to send.
        by_key: Classes that the receiver knows by key; with *collect*, filled with those it must be sent.
        collect: Write the key of every class by value that is met, and leave sending it to the caller.
        verify: Load the bytes again where loading them runs code of the user.

    Raises:
        Exception: Whatever pickling or loading raises.
    """
    with io.BytesIO() as file:
        pickler = Pickler(file, by_key, collect=collect)
        pickler.dump(obj)
        data = file.getvalue()
    if verify and pickler.unsure:
        loads(data)
    return data
