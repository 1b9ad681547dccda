"""Pickle and unpickle what crosses a process boundary.

cloudpickle does the work; this adds four things::

    obj ──► Pickler ──► bytes      1. a class that travels by value has a key: its definition is sent once, afterwards
             │                        the key alone, and it comes back as the very class it was
             ├─ classes sent       2. what dumps but must not travel (an open file, a DAG) or can't be imported by a
             └─ unsure?               worker is refused
                                   3. *unsure* returns whether loading runs code of the user, and so must be tried
                                   4. code keeps the name of its file, which cloudpickle 3.1.3 leaves out

A class by value that comes back is otherwise a copy, and cloudpickle then sets the copy's methods on the class of the
process that receives it.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
from contextvars import ContextVar
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from airflow_joblib.pickling import singletons
from airflow_joblib.pickling.by_value import importable, is_own, left_behind, sent_by_value
from airflow_joblib.pickling.class_keys import class_of_key, key_of, receive_class, set_class_state
from airflow_joblib.pickling.class_parts import is_by_value, is_member, member_named, parts_of_class, reduce_parts
from airflow_joblib.pickling.finding import is_found
from airflow_joblib.pickling.kinds import error_of_parts, is_plain_error, loads_plainly, reduces_itself, refused
from airflow_joblib.pickling.named import (
    FROM_PARTS,
    is_dispatcher,
    is_function_wrapper,
    reduce_cached_property,
    reduce_dispatcher,
)
from airflow_joblib.pickling.own_modules import worker_modules
from airflow_joblib.pickling.own_modules.dependencies import current_dependencies
from airflow_joblib.pickling.own_modules.own_parts import OwnParts, goes_by_value
from airflow_joblib.pickling.reductions import code_in_file, reduce_stream, reduce_whole_module, travels
from airflow_joblib.pickling.refusals import RefusedError, UnimportableError, dotted_name
from airflow_joblib.pickling.singletons import has_no_state

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pickler", "RefusedError", "UnimportableError", "checked", "dotted_name", "dumps", "loads", "optional"]

loads = pickle.loads

_trying: ContextVar[bool] = ContextVar("airflow_joblib_trying", default=False)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by value what only this process knows, refuses what a worker could not use.

    Attributes:
        by_key: Classes that the receiver has already, or will have before it loads this. With *collect* every class
            met that travels by value is added to it and only its key is written.
        unsure: Whether loading runs code of the user.
        own: What of it are parts of the user's modules. With *whole* they take along what code may look up in them.
    """

    def __init__(
        self,
        file: io.BytesIO,
        by_key: set[type] | None = None,
        *,
        collect: bool = False,
        whole: bool = True,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
    ) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=buffer_callback)
        self.by_key: set[type] = set() if by_key is None else by_key
        self.collect = collect
        self.unsure = False
        self.needs = current_dependencies()
        self.whole = whole
        self.own = OwnParts(_travelling if whole else None)
        self._version = self.needs.version if self.needs else 0

    @property
    def settled(self) -> bool:
        """Whether what was pickled has all that it needs of the user's modules; else it has to be pickled again."""
        return self.needs is None or self.needs.settled(self._version)

    def reducer_override(self, obj: Any) -> Any:
        """Reduce *obj*, or leave it to pickle with ``NotImplemented``."""
        kind: Any = type(obj)  # not isinstance: that reads obj.__class__, which may be a property of the user
        if issubclass(kind, type):
            return self._reduce_class(obj)
        if kind is FunctionType:
            return self._reduce_function(obj)
        if kind is ModuleType:
            return self._reduce_module(obj)
        if kind is CodeType:
            return code_in_file, (obj.co_filename, *self.dispatch_table[CodeType](obj))
        if kind is BuiltinFunctionType and self.needs is not None and type(obj.__module__) is str:
            self._refer(obj.__module__)
        if refused(kind):
            return reduce_stream(obj)
        return self._reduce_other(obj, kind)

    def _reduce_function(self, function: FunctionType) -> Any:
        if place := worker_modules.place_of(function):
            return worker_modules.named, (place,)
        reduced = self._reduce_reference(function, function.__module__)
        if reduced is NotImplemented:
            return reduced
        if is_dispatcher(function):
            return reduce_dispatcher(function)
        if self.needs is None:
            return self.own.reduce_function(function, reduced)
        return self.needs.reduce_function(function, reduced, whole=self.whole)

    def _reduce_module(self, module: ModuleType) -> Any:
        if self.needs is not None and self.needs.owns(module):
            return self.needs.reduce_module(module)
        if self.needs is None and sys.modules.get(module.__name__) is module and goes_by_value(module.__name__):
            return self.own.reduce_module(module)
        return self._reduce_reference(module, module.__name__)

    def _reduce_other(self, obj: Any, kind: Any) -> Any:
        if kind is functools.cached_property:
            return reduce_cached_property(obj)
        if is_member(obj, kind):
            return member_named, (kind, obj._name_)
        if has_no_state(obj, kind) and (reduced := self._reduce_singleton(obj, kind)):
            return reduced
        if is_function_wrapper(kind) and self._is_elsewhere(obj):
            return obj.__qualname__
        if is_plain_error(kind):
            return error_of_parts, (kind, obj.args), obj.__dict__ or None
        if not loads_plainly(kind):
            self.unsure = True
        return self._reduce_named(obj) if reduces_itself(kind) and kind not in self.dispatch_table else NotImplemented

    def _reduce_singleton(self, obj: Any, kind: type) -> Any:
        """Reduce an object without state to its name in a module; None if it has none."""
        module, name = singletons.name_of(obj, kind) or ("", "")
        if not module:
            return None
        if self.needs is not None:
            self.needs.meet(module)
        sent = module == "__main__" or module in cloudpickle.list_registry_pickle_by_value()
        if sent or not importable(module):
            made = singletons.made_of_nothing(kind)
            return (singletons.sent_singleton, (module, name, kind)) if made else None
        if self.needs is not None:
            self._refer(module)
        return singletons.imported_singleton, (module, name)

    def _reduce_named(self, obj: Any) -> Any:
        """Reduce an object whose type decides on it, which may be no more than its name in a module."""
        reduced = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        if type(reduced) is not str:
            return reduced
        module = pickle.whichmodule(obj, reduced)  # type: ignore[attr-defined]  # as pickle itself finds it
        known = module != "__main__" and importable(module) and not (self.needs is not None and is_own(module))
        if type(obj) in FROM_PARTS and not (known and _found(obj, module, reduced)):
            return FROM_PARTS[type(obj)](obj)
        if not known:
            raise UnimportableError(module)
        if self.needs is not None:
            self.needs.refer(module)
        return reduced

    def _is_elsewhere(self, obj: Any) -> bool:
        """Return whether a worker finds an object by the name of the function that it wraps."""
        module = obj.__module__
        if self.needs is not None:
            self.needs.meet(module)
        found = importable(module) and _found(obj, module, obj.__qualname__)
        if found and self.needs is not None:
            self.needs.refer(module)
        return found

    def _reduce_class(self, cls: type) -> Any:
        if cls in self.by_key:
            return class_of_key, (key_of(cls),)
        reduced = self._reduce_reference(cls, cls.__module__)
        if not is_by_value(reduced):
            return reduced
        if self.collect:
            self.by_key.add(cls)
            return class_of_key, (key_of(cls),)
        make, args, state, set_state = reduce_parts(cls, parts_of_class(cls, reduced))
        return (
            receive_class,
            (key_of(cls), make, args),
            (set_state, state, self.own.of_class(cls) if self.needs is None else ()),
            None,
            None,
            set_class_state,
        )

    def _reduce_reference(self, obj: Any, module: str | None) -> Any:
        if self.needs is not None and module:
            self.needs.meet(module)
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and module and not travels(obj):
            if not importable(module):
                return self._reduce_left_behind(obj, module)
            if self.needs is not None:
                self._refer(module)
        return reduced

    def _reduce_left_behind(self, obj: Any, name: str) -> Any:
        """Reduce by value what a worker would not find, as in a module of a zipped DAG."""
        module = left_behind(name)
        if module is None:
            raise UnimportableError(name)
        with sent_by_value([module]):
            return reduce_whole_module(obj) if type(obj) is ModuleType else super().reducer_override(obj)

    def _refer(self, module: str) -> None:
        """Take note of a module that workers must have, in which nothing of the user's own can be."""
        assert self.needs is not None  # noqa: S101 - as the caller saw
        if is_own(module):
            raise UnimportableError(module)
        self.needs.refer(module)


def _found(obj: object, module: str, name: str) -> bool:
    """Return whether *obj* is what a worker finds under *name* in *module*, and is not to travel by value."""
    return is_found(obj, module, name) and module not in cloudpickle.list_registry_pickle_by_value()


def dumps(
    obj: object, by_key: set[type] | None = None, *, collect: bool = False, verify: bool = False, whole: bool = True
) -> bytes:
    """Pickle *obj* for another process.

    Args:
        obj: What to send.
        by_key: Classes that the receiver knows by key; with *collect*, filled with those it must be sent.
        collect: Write the key of every class by value that is met, and leave sending it to the caller.
        verify: Load the bytes again where loading them runs code of the user.
        whole: Send with functions what they may look up in their module.

    Raises:
        Exception: Whatever pickling or loading raises.
    """
    pickler, data = _dump(obj, by_key, collect=collect, whole=whole)
    while not pickler.settled:
        pickler, data = _dump(obj, by_key, collect=collect, whole=whole)
    if verify and pickler.unsure:
        loads(data)
    return data


def checked(obj: object, by_key: set[type], *, collect: bool = False, whole: bool = True) -> bytes:
    """Pickle *obj* to see whether it can be, without a copy of the large buffers of arrays and tables.

    Raises:
        Exception: Whatever pickling or loading raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    with io.BytesIO() as file:
        pickler = Pickler(file, by_key, collect=collect, whole=whole, buffer_callback=buffers.append)
        pickler.dump(obj)
        data = file.getvalue()
    if pickler.unsure:
        loads(data, buffers=[buffer.raw().toreadonly() for buffer in buffers])
    return data


def _dump(obj: object, by_key: set[type] | None, *, collect: bool, whole: bool) -> tuple[Pickler, bytes]:
    with io.BytesIO() as file:
        pickler = Pickler(file, by_key, collect=collect, whole=whole)
        pickler.dump(obj)
        return pickler, file.getvalue()


def optional(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of *values* that can be sent, and need no more of a worker; none within such a trial.

    For what is useful to a worker but must not be why an object can't reach it.
    """
    if _trying.get():
        return {}
    token = _trying.set(True)  # what is tried may hold the object that it is for
    try:
        needs = current_dependencies()
        return _travelling(values) if needs is None else needs.travelling_alone(values)
    finally:
        _trying.reset(token)


def _travelling(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of *values* that can be sent, by trying them in ever smaller groups."""
    try:
        checked(values, set(), whole=False)
    except Exception:  # noqa: BLE001 - pickling runs code of the user
        names = list(values)
        half = len(names) // 2
        halves = [{name: values[name] for name in part} for part in (names[:half], names[half:]) if half]
        return {name: value for part in halves for name, value in _travelling(part).items()}
    return values
