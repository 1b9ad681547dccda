"""Digests by content, the same in every process: of an item, and of a call without its items."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import marshal
import pickle
import re
import sys
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SIZE", "call_key", "digest", "is_found", "plain_module"]

#: Bytes of a digest.
SIZE = 16
#: Hexadecimal digits of a call's key that stand for the function; the others stand for the shared arguments.
FUNCTION_DIGITS = 16

#: What Airflow puts before the name of a DAG file's module: it has the file's path in it, which a new bundle changes.
_DAG_FILE = re.compile(r"^unusual_prefix_[0-9a-f]+_")
_ATOMS = frozenset({int, str, bytes, float, bool, type(None)})
#: Packages whose objects joblib knows better; reducing an array copies it.
_LEFT_TO_JOBLIB = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy", "torch"})
#: No value has an Ellipsis in it here, so nothing else looks like what begins with one of these.
_DICT, _OBJECT, _SET = (..., 0), (..., 1), (..., 2)


class _NotPlainError(Exception):
    """A value is not made of plain parts alone, or has none that describe all of it."""


def plain_module(name: str) -> str:
    """Return a module's name without what Airflow puts before that of a DAG file."""
    return _DAG_FILE.sub("", name)


def digest(item: object) -> bytes:
    """Return 16 bytes that stand for the content of *item*, in this process and any other.

    Equal dicts and sets have the same digest in whatever order they are; 1, 1.0 and True have three.

    Raises:
        Exception: Whatever pickling raises for an object that has no content to go by, such as a lock.
    """
    try:
        data = b"p" + marshal.dumps(_plain(item), 0)  # version 0 writes no references, which depend on identity
    except Exception:  # noqa: BLE001 - whatever reducing raises; what no one can reduce, joblib's hasher refuses too
        data = b"o" + _hash_of_object(item)
    return hashlib.blake2b(data, digest_size=SIZE).digest()


def _plain(value: Any) -> Any:
    """Return builtins of one order that stand for a value; joblib's hasher takes twenty times as long."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple:
        return tuple(map(_plain, value))
    if kind is list:
        return list(map(_plain, value))
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise _NotPlainError
        return (*_DICT, *(part for key in sorted(value) for part in (key, _plain(value[key]))))
    if kind is set or kind is frozenset:
        return (*_SET, kind.__name__, *sorted(map(digest, value)))
    return _plain_object(value, kind)


def _plain_object(value: Any, kind: Any) -> Any:
    """Return what stands for an object that pickles as its class, the class's arguments and its state."""
    if kind in copyreg.dispatch_table:
        raise _NotPlainError
    _name_of(kind)
    make, args, *rest = value.__reduce_ex__(2)
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]
        make, *args = args
    if any(part is not None for part in rest[1:]):  # elements of a subclass of list or dict
        raise _NotPlainError
    return (*_OBJECT, _name_of(make), _plain(tuple(args)), _plain(rest[0] if rest else None))


@functools.lru_cache(maxsize=4096)
def _name_of(kind: Any) -> str:
    """Return the dotted name of a class that is found by it; lets no other pass."""
    module = getattr(kind, "__module__", None) or ""
    if not isinstance(kind, type) or module.partition(".")[0] in _LEFT_TO_JOBLIB:
        raise _NotPlainError
    if not is_found(kind, module, kind.__qualname__):
        raise _NotPlainError
    return f"{plain_module(module)}.{kind.__qualname__}"


def call_key(name: str, arguments: Mapping[str, object]) -> str:
    """Return 48 hexadecimal digits that stand for a call without its items.

    The function's code is no part of it: who mends a bug and clears the task keeps what was finished before.

    Args:
        name: Dotted name of the function.
        arguments: What all items share, by name.

    Raises:
        TypeError: An argument can't be recognised in another process.
    """
    found = [(key, _digest_of_argument(key, arguments[key])) for key in sorted(arguments)]
    return digest(plain_module(name)).hex()[:FUNCTION_DIGITS] + digest(found).hex()


def _digest_of_argument(name: str, value: object) -> bytes:
    try:
        return digest(value)
    except Exception as error:
        msg = (
            f"A checkpoint can't recognise the shared argument {name!r} in a later try: a "
            f"{type(value).__qualname__} has no content to go by ({type(error).__name__}: {error}). Make it in "
            "per_worker, pass what it is made from, or leave checkpoint out."
        )
        raise TypeError(msg) from error


def _hash_of_object(value: object) -> bytes:
    hasher = _hasher_class(numpy="numpy" in sys.modules)(hash_name="sha256")
    try:
        return bytes.fromhex(hasher.hash(value))
    except pickle.PicklingError as error:
        raise pickle.PicklingError(*error.args[:1]) from None  # joblib adds the value, which no log may show


@functools.cache
def _hasher_class(*, numpy: bool) -> Any:
    """Return joblib's hasher with names, sets and dicts made independent of this process."""
    from joblib import hashing

    base: Any = hashing.NumpyHasher if numpy else hashing.Hasher

    class Hasher(base):  # type: ignore[misc]  # joblib has no types
        """joblib's hasher sorts by ``hash()`` what it can't sort, which takes -1 and -2 for the same."""

        dispatch = base.dispatch.copy()

        def save_global(self, obj: Any, name: str | None = None, **_: Any) -> None:
            """Write a function or class as its name, and a function that can't be found by it as its parts."""
            qualified = name or obj.__qualname__
            module = getattr(obj, "__module__", None) or pickle.whichmodule(obj, qualified)  # type: ignore[attr-defined]
            if is_found(obj, module, qualified):
                self.write(f"c{plain_module(module)}\n{qualified}\n".encode())
            elif type(obj) is FunctionType:
                self.save(_parts_of_function(obj))
            else:
                msg = f"{qualified} is not found as {module}.{qualified}"
                raise pickle.PicklingError(msg)
            self.memoize(obj)

        def save_set(self, elements: Iterable[Any]) -> None:
            """Write a set or frozenset in an order that its elements' contents give."""
            self.save((type(elements).__name__, sorted(map(digest, elements))))

        def _batch_setitems(self, items: Iterable[tuple[Any, Any]], *rest: Any) -> None:
            ordered = sorted(items, key=lambda item: digest(item[0]))
            pickle._Pickler._batch_setitems(self, iter(ordered), *rest)  # type: ignore[attr-defined]  # noqa: SLF001

        dispatch.update(dict.fromkeys((set, frozenset), save_set))
        dispatch.update(dict.fromkeys((type, FunctionType, type(len), type(pickle.Pickler)), save_global))

    return Hasher


def is_found(obj: object, module: str, name: str) -> bool:
    """Return whether *obj* is what a dotted name means in a module that is loaded."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is obj


def _parts_of_function(function: FunctionType) -> tuple[Any, ...]:
    """Return what a lambda or an inner function computes with, short of the globals that it names."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = (function.__defaults__, function.__kwdefaults__)
    return "function", function.__qualname__, _parts_of_code(function.__code__), defaults, cells


def _parts_of_code(code: CodeType) -> tuple[Any, ...]:
    constants = [_parts_of_code(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars
