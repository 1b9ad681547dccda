"""What any other object is pickled from: arguments, state, elements and class, as pickle's reduction has them."""

from __future__ import annotations

import copyreg
import functools
import io
import types
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.by_value import instance_dict
from airflow_joblib.pickling.culprits.containers import PLAIN, Child, of_items, of_sequence, of_set, short, subscript
from airflow_joblib.pickling.pickler import Pickler
from airflow_joblib.pickling.refusals import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["of_object"]

#: Types that only wrap one other object: they add nothing to a path.
_WRAPPERS: tuple[type, ...] = (
    *(staticmethod, classmethod, property, functools.cached_property, types.CellType, types.MappingProxyType),
    *(type({}.keys()), type({}.values()), type({}.items()), type(functools.cache(len))),
)


def of_object(obj: object) -> Iterator[Child]:
    """Yield what pickle's reduction of *obj* holds: arguments, state, list and dict items, and its class."""
    reduced = _reduced(obj)
    if type(reduced) is not tuple:
        return
    parts: tuple[Any, ...] = (*reduced, None, None, None)
    make, args, state, elements, items = parts[:5]
    yield from _of_arguments(obj, make, args)
    yield from _of_state(obj, state)
    yield from of_sequence(elements or ())
    yield from of_items(items or ())
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
        yield Child(f"{short(kind)}.__reduce__()", make)
    labels = _labels(obj)
    arguments: Iterable[tuple[int | str, object]] = chain(enumerate(args), keywords.items())
    for name, value in arguments:
        if value is kind:
            continue
        if issubclass(kind, (set, frozenset)) and type(value) is list:
            yield from of_set(value)
        else:
            yield Child(labels(name, value), value)


def _labels(obj: object) -> Callable[[int | str, object], str]:
    """Return a function from position and value of an argument to its label."""
    kind = type(obj)
    fields = getattr(kind, "_fields", ())
    held = _names_by_identity(obj)

    def label(name: int | str, value: object) -> str:
        if issubclass(kind, tuple) and type(name) is int and name < len(fields):
            return f"{short(kind)}.{fields[name]}"
        if kind in _WRAPPERS or (issubclass(kind, tuple) and type(value) is tuple):
            return ""
        return held.get(id(value)) or f"{short(kind)}.__reduce__()[{name!r}]"

    return label


def _of_state(obj: object, state: Any) -> Iterator[Child]:
    owner = short(type(obj))
    if type(obj) in _WRAPPERS:
        yield Child("", state)
    elif type(state) is dict:
        yield from _of_attributes(owner, state)
    elif _is_pair(state):
        yield from chain.from_iterable(_of_attributes(owner, part) for part in state if part)
    elif dotted_name(type(obj)) == "numpy.ndarray" and type(state[-1]) is list:
        yield from of_sequence(state[-1])
    elif type(state) in {list, tuple}:
        held = _names_by_identity(obj)
        for index, value in enumerate(state):
            yield Child(held.get(id(value)) or f"{owner}.__getstate__() → [{index}]", value)
    else:
        yield Child(_names_by_identity(obj).get(id(state)) or f"{owner}.__getstate__()", state)


def _is_pair(state: object) -> bool:
    """Return whether *state* is what an object with slots has: its ``__dict__`` or None, and a dict of slots."""
    return type(state) is tuple and [type(part) for part in state] in ([type(None), dict], [dict, dict])


def _of_attributes(owner: str, attributes: Mapping[object, object]) -> Iterator[Child]:
    for key, value in attributes.items():
        if type(key) is str and key == "__dict__" and type(value) is dict:  # as pydantic's models have it
            yield from _of_attributes(owner, value)
        elif type(value) not in PLAIN:
            yield Child(f"{owner}.{key}" if type(key) is str else f"{owner}{subscript(key)}", value)


def _names_by_identity(obj: object) -> dict[int, str]:
    owner = short(type(obj))
    named = chain.from_iterable(part.items() for part in _attributes_of(obj))
    return {id(value): f"{owner}.{name}" for name, value in named if type(value) not in PLAIN}


def _attributes_of(obj: object) -> tuple[dict[str, object], dict[str, object]]:
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
