"""List what an object is pickled from, each part with the segment of the path that leads to it.

Everything is asked of the object as pickle asks it, so nothing runs that pickling it would not run: no property, no
``__repr__``, no ``__eq__``. Where pickle is given a value with no name, the name is that of the attribute which holds
the very same object.
"""

from __future__ import annotations

import copyreg
import functools
import io
import types
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from airflow_joblib.pickling.by_value import instance_dict
from airflow_joblib.pickling.named import is_dispatcher
from airflow_joblib.pickling.own_modules.dependencies import current, submodules
from airflow_joblib.pickling.own_modules.own_parts import named_by
from airflow_joblib.pickling.pickler import Pickler
from airflow_joblib.pickling.refusals import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["PLAIN", "Child", "attributes_of", "children_of"]

#: Types whose objects always travel, and that are too many to look at one by one.
PLAIN = frozenset({bool, bytes, bytearray, complex, float, int, str, type(None), type(Ellipsis), type(NotImplemented)})

_KEY_LENGTH = 40
_KEY_BITS = 128

#: Types that only wrap one other object: they add nothing to a path.
_WRAPPERS: tuple[type, ...] = (
    *(staticmethod, classmethod, property, functools.cached_property, types.CellType, types.MappingProxyType),
    *(type({}.keys()), type({}.values()), type({}.items()), type(functools.cache(len))),
)


class Child(NamedTuple):
    """A part of an object.

    Attributes:
        label: Segment of the path; empty for what adds nothing to it.
        value: The part itself.
        kind: Type to name where it is not that of *value*.
    """

    label: str
    value: object
    kind: type | None = None


def children_of(obj: Any) -> Iterator[Child]:
    """Return what *obj* is pickled from; raises what reducing it raises."""
    kind = type(obj)
    if issubclass(kind, type):
        return _of_class(obj)
    special = _SPECIAL.get(kind)
    return special(obj) if special else _of_object(obj)


def _raw_reduced(obj: object) -> Any:
    """Return cloudpickle's own reduction of a function or class, or None where it goes by reference."""
    reduced = cloudpickle.Pickler.reducer_override(Pickler(io.BytesIO(), whole=False), obj)
    return None if reduced is NotImplemented else reduced


def _of_sequence(sequence: Iterable[object]) -> Iterator[Child]:
    for index, value in enumerate(sequence):
        if type(value) not in PLAIN:
            yield Child(f"[{index}]", value)


def _of_set(elements: Iterable[object]) -> Iterator[Child]:
    for value in elements:
        if type(value) not in PLAIN:
            yield Child(f"element of type {type(value).__qualname__}", value)


def _of_items(items: Iterable[tuple[object, object]]) -> Iterator[Child]:
    for key, value in items:
        if type(key) not in PLAIN:
            yield Child(f"key of type {type(key).__qualname__}", key)
        if type(value) not in PLAIN:
            yield Child(_subscript(key), value)


def _subscript(key: Any) -> str:
    """Return how a path shows *key*: itself if it is a name or number, else no more than its type."""
    kind = type(key)
    if kind is str:
        return f"[{key[:_KEY_LENGTH]!r}]"
    if kind is bool or key is None or (kind is int and key.bit_length() <= _KEY_BITS):
        return f"[{key}]"
    return f"[<{kind.__qualname__}>]"


def _of_function(function: types.FunctionType) -> Iterator[Child]:
    reduced = _raw_reduced(function)
    if reduced is None:
        return
    if is_dispatcher(function):
        yield from (Child(f"registered for {_short(kind)}", each) for kind, each in function.registry.items())  # type: ignore[attr-defined]
        yield from (Child("", kind) for kind in function.registry)  # type: ignore[attr-defined]
        return
    attributes, state = reduced[2]
    yield from _of_closure(function)
    yield from _named("global", state.get("__globals__", {}))
    yield from _of_defaults(function)
    yield from _named("attribute", attributes)
    yield from _named("annotation", state.get("__annotations__") or {})
    for module in submodules(state):
        yield Child(f"module {module.__name__}", module)
    for module in needs.imported_by(function) if (needs := current()) else ():
        yield Child(f"import {module.__name__}", module)
    for module, names in named_by(function, state.get("__globals__", {})) if needs is None else ():
        yield from _named(f"module {module.__name__} → attribute", {name: vars(module)[name] for name in names})


def _of_closure(function: types.FunctionType) -> Iterator[Child]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield Child(f"closure {name!r}", cell.cell_contents)
        except ValueError:  # a cell that is not filled yet
            continue


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
    if (needs := current()) and needs.owns(module):
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
        yield Child(f"{_short(cls)}.{name}", value)


def _of_class_argument(cls: type, part: object) -> Iterator[Child]:
    """Yield what a class is made from: metaclass, bases, keyword arguments or an enum's members."""
    if type(part) is tuple:
        yield from (Child(f"base {_short(base)}", base) for base in part if issubclass(type(base), type))
    elif type(part) is dict:
        yield from (Child(f"{_short(cls)}.{name}", value) for name, value in part.items())
    elif issubclass(type(part), type):
        yield Child("metaclass", part)


_SPECIAL: dict[type, Any] = {
    list: _of_sequence,
    tuple: _of_sequence,
    set: _of_set,
    frozenset: _of_set,
    dict: lambda obj: _of_items(obj.items()),
    types.FunctionType: _of_function,
    types.MethodType: _of_method,
    types.BuiltinFunctionType: _of_builtin,
    types.ModuleType: _of_module,
    functools.partial: _of_partial,
}


def _short(kind: type) -> str:
    return kind.__qualname__.rpartition(".")[2]


def _of_object(obj: object) -> Iterator[Child]:
    """Yield what pickle's reduction of *obj* holds: arguments, state, list and dict items, and its class."""
    reduced = _reduced(obj)
    if type(reduced) is not tuple:
        return
    parts: tuple[Any, ...] = (*reduced, None, None, None)
    make, args, state, elements, items = parts[:5]
    yield from _of_arguments(obj, make, args)
    yield from _of_state(obj, state)
    yield from _of_sequence(elements or ())
    yield from _of_items(items or ())
    yield Child("", type(obj), type(obj))


def _reduced(obj: Any) -> Any:
    pickler = Pickler(io.BytesIO(), whole=False)
    reduced = pickler.reducer_override(obj)
    if reduced is not NotImplemented:
        return reduced
    reduce = pickler.dispatch_table.get(type(obj))
    return reduce(obj) if reduce else obj.__reduce_ex__(pickler.proto)


def _of_arguments(obj: object, make: object, args: tuple[Any, ...]) -> Iterator[Child]:
    kind = type(obj)
    keywords: Mapping[str, object] = {}
    if make is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
        _, args, keywords = args
    elif make is copyreg.__newobj__:  # type: ignore[attr-defined]
        args = args[1:]
    elif make is not kind:
        yield Child(f"{_short(kind)}.__reduce__()", make)
    labels = _labels(obj)
    arguments: Iterable[tuple[int | str, object]] = chain(enumerate(args), keywords.items())
    for name, value in arguments:
        if value is kind:
            continue
        if issubclass(kind, (set, frozenset)) and type(value) is list:
            yield from _of_set(value)
        else:
            yield Child(labels(name, value), value)


def _labels(obj: object) -> Callable[[int | str, object], str]:
    """Return a function from position and value of an argument to its label."""
    kind = type(obj)
    fields = getattr(kind, "_fields", ())
    held = _names_by_identity(obj)

    def label(name: int | str, value: object) -> str:
        if issubclass(kind, tuple) and type(name) is int and name < len(fields):
            return f"{_short(kind)}.{fields[name]}"
        if kind in _WRAPPERS or (issubclass(kind, tuple) and type(value) is tuple):
            return ""
        return held.get(id(value)) or f"{_short(kind)}.__reduce__()[{name!r}]"

    return label


def _of_state(obj: object, state: Any) -> Iterator[Child]:
    owner = _short(type(obj))
    if type(obj) in _WRAPPERS:
        yield Child("", state)
    elif type(state) is dict:
        yield from _of_attributes(owner, state)
    elif _is_pair(state):
        yield from chain.from_iterable(_of_attributes(owner, part) for part in state if part)
    elif dotted_name(type(obj)) == "numpy.ndarray" and type(state[-1]) is list:
        yield from _of_sequence(state[-1])
    elif type(state) in {list, tuple}:
        held = _names_by_identity(obj)
        for index, value in enumerate(state):
            yield Child(held.get(id(value)) or f"{owner}.__getstate__() → [{index}]", value)
    else:
        yield Child(_names_by_identity(obj).get(id(state)) or f"{owner}.__getstate__()", state)


def _is_pair(state: object) -> bool:
    """Tell whether *state* is what an object with slots has: its ``__dict__`` or None, and a dict of slots."""
    return type(state) is tuple and [type(part) for part in state] in ([type(None), dict], [dict, dict])


def _of_attributes(owner: str, attributes: Mapping[object, object]) -> Iterator[Child]:
    for key, value in attributes.items():
        if type(key) is str and key == "__dict__" and type(value) is dict:  # as pydantic's models have it
            yield from _of_attributes(owner, value)
        elif type(value) not in PLAIN:
            yield Child(f"{owner}.{key}" if type(key) is str else f"{owner}{_subscript(key)}", value)


def _names_by_identity(obj: object) -> dict[int, str]:
    owner = _short(type(obj))
    named = chain.from_iterable(part.items() for part in attributes_of(obj))
    return {id(value): f"{owner}.{name}" for name, value in named if type(value) not in PLAIN}


def attributes_of(obj: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return an object's ``__dict__`` and its slots, read by the interpreter's own descriptors and nothing else."""
    slots: dict[str, object] = {}
    for base in type(obj).__mro__:
        for name, member in vars(base).items():
            if type(member) is types.MemberDescriptorType:
                _read_slot(slots, name, member, obj)
    return instance_dict(obj), slots


def _read_slot(slots: dict[str, object], name: str, member: types.MemberDescriptorType, obj: object) -> None:
    try:
        slots.setdefault(name, member.__get__(obj))
    except AttributeError:  # a slot that was never set
        return
