"""Keys of classes that travel by value: what stands for a class wherever it is known already."""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.hooks import make_class, received
from airflow_joblib.pickling.own_modules.worker_modules import put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        cls = make_class(make, args)
        _keys[cls] = key
        _classes[key] = cls
        received.add(cls)
        _fresh.add(cls)
    return cls


def set_class_state(
    cls: type,
    state: tuple[Callable[[type, Any], None], Any, Iterable[tuple[dict[str, Any], dict[str, Any]]]],
) -> None:
    """Fill in a class that was just made, and its module with what came along; one that was here stays as it is."""
    set_state, values, more = state
    if cls in _fresh:
        _fresh.discard(cls)
        set_state(cls, values)
    for namespace, found in more:
        put(namespace, found)
