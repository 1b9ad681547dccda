"""Keys of classes that travel by value: what stands for a class wherever it is known already."""

from __future__ import annotations

import uuid
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["class_of_key", "key_of", "known_classes", "receive_class", "set_class_state"]

_keys: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_fresh: weakref.WeakSet[type] = weakref.WeakSet()


def key_of(cls: type) -> str:
    """Return the key of a class, made now if it has none."""
    key = _keys.get(cls)
    if key is None:
        key = _keys[cls] = uuid.uuid4().hex
        _classes[key] = cls
    return key


def known_classes() -> set[type]:
    """Return the classes that have a key."""
    return set(_keys)


def class_of_key(key: str) -> type:
    """Return the class of a key, which is known here."""
    return _classes[key]


def receive_class(key: str, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Return the class that *key* stands for in this process, made now if it is new here."""
    cls = _classes.get(key)
    if cls is None:
        cls = _made(make, args)
        _keys[cls] = key
        _classes[key] = cls
        _fresh.add(cls)
    return cls


class _Hook:
    """First base of a class while it is made, in the place of the hook of another base."""

    def __init_subclass__(cls, **_: object) -> None: ...


class _SlottedHook:
    """The same before a base that has no ``__dict__``: the first base may only be exchanged for one of its layout."""

    __slots__ = ()

    def __init_subclass__(cls, **_: object) -> None: ...


def _made(make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Make a class; without the hooks of its metaclass and bases where these ask for keywords of its statement.

    Nothing of a class tells which those were. What the hooks did with them is in the class's state, which follows.
    """
    try:
        return make(*args)
    except TypeError:
        metaclass, name, bases, own = args[:4]
        if isinstance(metaclass, type) and isinstance(bases, tuple) and isinstance(own, dict):
            for hook in ((), (_SlottedHook,), (_Hook,)):
                with suppress(TypeError):  # if none will do the first error is the one to report
                    cls: type = type.__new__(metaclass, name, (*hook, *bases), own)
                    if hook:
                        cls.__bases__ = bases
                    return cls
        raise


def set_class_state(cls: type, state: tuple[Callable[[type, Any], None], Any]) -> None:
    """Fill in a class that was just made; one that was here before is left as it is."""
    if cls in _fresh:
        _fresh.discard(cls)
        set_state, values = state
        set_state(cls, values)
