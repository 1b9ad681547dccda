"""What of a class by value cloudpickle leaves out: its place, slots, and of an ``Enum`` how its members were made.

cloudpickle makes an ``Enum`` anew of its members' values. What their ``__init__`` or ``__new__`` has set is lost then,
and so are aliases; a member that is another object than its value can't be made. Here members are made of their parts.
"""

from __future__ import annotations

import functools
from enum import Enum, member
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.pickling.hooks import new_class
from airflow_joblib.system.internals import gone

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Reduced", "is_by_value", "is_member", "member_named", "parts_of_class", "reduce_parts"]

#: Types of which a member can be made again from an object of the type alone.
_PLAIN = frozenset({int, float, complex, bytes, str, tuple, frozenset})
#: Attributes of a member that the metaclass sets.
_OF_ENUM = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})

#: So many arguments has what makes a class in cloudpickle, and what makes an ``Enum``.
_ARGUMENTS = {False: 6, True: 7}

#: What a class has after it was made that its author may not have given it.
_MADE_WITH = ("__init__", "__new_member__")


class Reduced(NamedTuple):
    """How a class travels: what makes it, of what, what fills it in then, and with what."""

    make: Callable[..., Any]
    args: tuple[Any, ...]
    state: Any
    set_state: Callable[[Any, Any], None]


def is_by_value(reduced: object) -> bool:
    """Return whether cloudpickle reduced a class to its definition: skeleton, arguments, state and its setter."""
    return isinstance(reduced, tuple) and len(reduced) == 6  # noqa: PLR2004 - the length that pickle documents


def parts_of_class(cls: type, reduced: tuple[Any, ...]) -> Reduced:
    """Return how cloudpickle sends a class.

    Raises:
        ParallelTaskError: This cloudpickle sends it in another way.
    """
    make, args, state, _, _, set_state = reduced
    known = (type(cls), cls.__name__) if not issubclass(cls, Enum) else (cls.__bases__, cls.__name__)
    state_is_known = isinstance(state, tuple) and len(state) == 2 and all(type(part) is dict for part in state)  # noqa: PLR2004
    if not (len(args) == _ARGUMENTS[issubclass(cls, Enum)] and tuple(args[:2]) == known and state_is_known):
        raise gone("cloudpickle", "definition of a class of the known parts")
    return Reduced(make, args, state, set_state)


def reduce_parts(cls: Any, reduced: Reduced) -> Reduced:
    """Return cloudpickle's reduction of a class with what it leaves out."""
    if issubclass(cls, Enum):
        return _reduce_enum(cls, reduced) if cls.__members__ else reduced
    metaclass, name, bases, given, *others = reduced.args
    given = {"__qualname__": cls.__qualname__, **given}
    own = vars(cls)
    named_tuple = any(getattr(base, "__name__", None) == "NamedTuple" for base in own.get("__orig_bases__", ()))
    if "__slots__" in own and not named_tuple:  # which sees to its slots itself
        # cloudpickle sets it afterwards, when it is too late: an object of the class would have a __dict__ there.
        given["__slots__"] = own["__slots__"]
    return reduced._replace(args=(metaclass, name, bases, given, *others))


def is_member(obj: Any, kind: Any) -> bool:
    """Return whether *obj* is a member of an ``Enum`` that leaves pickling to its base."""
    return issubclass(kind, Enum) and _leaves_pickling(kind) and kind.__members__.get(obj._name_) is obj


@functools.lru_cache(maxsize=4096)
def _leaves_pickling(kind: Any) -> bool:
    return all(getattr(getattr(kind, name), "__module__", "enum") == "enum" for name in ("__reduce__", "__reduce_ex__"))


def member_named(kind: Any, name: str) -> Any:
    """Return a member; not by its value, which need not be equal to itself once it has travelled."""
    return kind.__members__[name]


def _reduce_enum(cls: Any, reduced: Reduced) -> Reduced:
    members = cls.__members__
    values = {name: (_data(cls._member_type_, each), each._value_) for name, each in members.items()}
    attributes = {name: _attributes(each) for name, each in members.items()}
    attributes = {name: own for name, own in attributes.items() if own}
    named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    own = [name for name in _MADE_WITH if name in vars(cls)]
    filled, slots = reduced.state
    filled = {name: value for name, value in filled.items() if name not in members}  # an alias can't be set
    state = (filled, slots), reduced.set_state, own, attributes  # these may refer to the class, which is made by then
    return Reduced(_make_enum, (type(cls), cls.__name__, cls.__bases__, named, values), state, _set_enum_state)


def _data(kind: Any, each: Any) -> Any:
    """Return what a member is besides a member, such as a text; None where its value shows it."""
    if kind not in _PLAIN:
        return None
    return str.__str__(each) if kind is str else kind(each)


def _attributes(each: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(each).items() if name not in _OF_ENUM}


class _Parts:
    """A member's parts, in the place of its value while the class is made."""

    def __init__(self, data: Any, value: Any) -> None:
        self.data = data
        self.value = value


def _make_enum(
    metaclass: Any, name: str, bases: tuple[type, ...], named: dict[str, Any], values: dict[str, Any]
) -> Any:
    """Make an ``Enum`` of its members' parts, without what its author's ``__new__`` and ``__init__`` did."""
    namespace = metaclass.__prepare__(name, bases)
    namespace.update(named)
    namespace["__new__"] = _new_member
    namespace["__init__"] = _no_init
    for each, parts in values.items():
        namespace[each] = member(_Parts(*parts))
    return new_class(metaclass, name, bases, namespace)


def _new_member(cls: Any, parts: Any) -> Any:
    if type(parts) is tuple:  # as a member that is a tuple gets its value
        (parts,) = parts
    kind, value = cls._member_type_, parts.value
    if kind in _PLAIN:
        made = kind.__new__(cls, parts.data)
    elif kind.__new__ is object.__new__:
        made = object.__new__(cls)
    else:
        made = kind.__new__(cls, *(value if type(value) is tuple else (value,)))
    made._value_ = value
    return made


def _no_init(self: Any, *_: object) -> None:
    """Leave a member as it is: its attributes follow."""


def _set_enum_state(cls: Any, given: tuple[Any, Callable[[Any, Any], None], list[str], dict[str, Any]]) -> None:
    state, set_state, own, attributes = given
    for name in _MADE_WITH:
        if name not in own and name in vars(cls):
            delattr(cls, name)
    set_state(cls, state)
    for name, values in attributes.items():
        vars(cls.__members__[name]).update(values)
