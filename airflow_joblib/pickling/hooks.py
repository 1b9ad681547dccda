"""Make a class that has been sent, without what its author has every class of its kind do.

Code of the user runs when a class is made: ``__init_subclass__`` of a base, ``__new__`` and ``__init__`` of a
metaclass. It has run where the class comes from, and what came of it travels with the class: attributes, and registries
with their contents, which would otherwise be filled twice. Hooks of installed packages do run: their registries don't
travel.
"""

from __future__ import annotations

import functools
import threading
import types
import weakref
from contextlib import contextmanager, suppress
from enum import EnumType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["make_class", "new_class", "received"]

#: Classes that were made here of what was sent. What they are, others have decided.
received: weakref.WeakSet[type] = weakref.WeakSet()

#: Classes whose hook is skipped: that hook, and the threads that skip it, the last of which puts it back.
_skipping: dict[type, tuple[Any, list[int]]] = {}
_lock = threading.Lock()


class _Hook:
    """First base of a class while it is made, in the place of the hook of another base."""

    def __init_subclass__(cls, **_: object) -> None: ...


class _SlottedHook:
    """The same before a base that has no ``__dict__``: the first base may only be exchanged for one of its layout."""

    __slots__ = ()

    def __init_subclass__(cls, **_: object) -> None: ...


def make_class(make: Callable[..., type], args: tuple[Any, ...]) -> type:
    """Make a class; without all hooks where these require keywords of its statement.

    Nothing of a class records which those were. What the hooks did with them is in the class's state, which follows.

    Args:
        make: Makes it of *args*, which begin with metaclass, name, bases and namespace.
        args: What it is made of.
    """
    metaclass, name, bases, own = args[:4]
    if not (isinstance(metaclass, type) and isinstance(bases, tuple) and isinstance(own, dict)):
        return make(*args)
    own_maker = metaclass in received and not issubclass(metaclass, EnumType)  # which sees to that itself
    try:
        with _without_hooks(bases):
            return make(functools.partial(new_class, metaclass) if own_maker else metaclass, *args[1:])
    except TypeError:
        for hook in ((), (_SlottedHook,), (_Hook,)):
            with suppress(TypeError):  # if none will do the first error is the one to report
                cls: type = type.__new__(metaclass, name, (*hook, *bases), own)
                if hook:
                    cls.__bases__ = bases
                return cls
        raise


def new_class(metaclass: Any, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
    """Make a class as its metaclass does, without the ``__new__`` and ``__init__`` of a metaclass that was sent."""
    cls = _defining(metaclass, "__new__").__new__(metaclass, name, bases, namespace)
    _defining(metaclass, "__init__").__init__(cls, name, bases, namespace)
    return cls


def _defining(metaclass: Any, method: str) -> Any:
    """Return the first of a metaclass's bases that defines a method and was not sent."""
    return next(base for base in metaclass.__mro__ if base not in received and method in vars(base))


@contextmanager
def _without_hooks(bases: Iterable[object]) -> Iterator[None]:
    """Skip every ``__init_subclass__`` that was sent, in this thread, for as long as the block runs."""
    every = {each for base in types.resolve_bases(bases) for each in base.__mro__}
    skipped = [base for base in every.intersection(received) if "__init_subclass__" in vars(base)]
    thread = threading.get_ident()
    with _lock:
        for base in skipped:
            if base not in _skipping:
                _skipping[base] = vars(base)["__init_subclass__"], []
                type.__setattr__(base, "__init_subclass__", _skipped(base, *_skipping[base]))
            _skipping[base][1].append(thread)
    try:
        yield
    finally:
        with _lock:
            for base in skipped:
                hook, threads = _skipping[base]
                threads.remove(thread)
                if not threads:
                    type.__setattr__(base, "__init_subclass__", hook)
                    del _skipping[base]


def _skipped(base: Any, hook: Any, threads: list[int]) -> Any:
    """Return what goes on with the next base in the place of a hook, in these threads, and is the hook in any other."""

    def skip(cls: Any, /, **keywords: Any) -> None:
        if threading.get_ident() in threads:
            super(base, cls).__init_subclass__()
        else:
            hook.__get__(None, cls)(**keywords)

    return classmethod(skip)
