"""What the type of an object decides about how it travels: each answer is computed once for a type."""

from __future__ import annotations

import copyreg
import functools
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from airflow_joblib.pickling.named import FROM_PARTS

__all__ = ["error_of_parts", "is_plain_error", "loads_plainly", "reduces_itself", "refused"]

#: Packages whose objects load without running code of the user.
_TRUSTED = frozenset(
    {"builtins", "collections", "datetime", "decimal", "fractions", "functools", "ipaddress", "numpy", "operator"}
    | {"pandas", "pathlib", "polars", "pyarrow", "re", "types", "typing", "uuid", "zoneinfo", "pendulum", "_io"}
)

#: What every call is sent as: were it unsure, all arguments would be loaded in the task each time.
_OWN = frozenset(
    {"airflow_joblib.wire.call", "airflow_joblib.wire.records"}
    | {f"airflow_joblib.pickling.own_modules.{name}" for name in ("dependencies", "own_parts", "rebuilt")}
)

#: Methods that loading an object calls, if its type has its own: ``__getattr__`` too, in search of a ``__setstate__``.
_RUN_BY_LOADING = (
    *("__new__", "__reduce__", "__reduce_ex__", "__setstate__", "__getnewargs__", "__getnewargs_ex__"),
    *("__setattr__", "__getattr__", "__getattribute__", "__hash__"),
)


@functools.lru_cache(maxsize=4096)
def refused(kind: type) -> bool:
    """Return whether objects of this type must not travel although cloudpickle would send them."""
    if kind.__module__ in _OWN:
        return False
    from airflow_joblib.pickling.refusals import is_refused  # late: a worker needs no table of what is refused

    return is_refused(kind)


@functools.lru_cache(maxsize=4096)
def loads_plainly(kind: type) -> bool:
    """Return whether loading an object of this type runs no code of the user."""
    if kind.__module__.partition(".")[0] in _TRUSTED or kind.__module__ in _OWN or issubclass(kind, Enum):
        return True
    if kind in {BuiltinFunctionType, MethodType}:
        return True
    own = ((getattr(kind, name, None), getattr(object, name, None)) for name in _RUN_BY_LOADING)
    return kind not in copyreg.dispatch_table and all(mine is None or mine is base for mine, base in own)


@functools.lru_cache(maxsize=4096)
def is_plain_error(kind: Any) -> bool:
    """Return whether an exception has an ``__init__`` of its own and leaves pickling to its base.

    Pickle would call it with ``args``, which is what it gave to ``super().__init__()``, not what it was called with.
    """
    return (
        issubclass(kind, BaseException)
        and not issubclass(kind, StopIteration | SystemExit | UnicodeError | SyntaxError)  # they keep more than args
        and type(kind.__init__) is FunctionType
        and type(kind.__new__) is BuiltinFunctionType
        and kind.__reduce__ is BaseException.__reduce__
        and kind.__reduce_ex__ is object.__reduce_ex__
    )


def error_of_parts(kind: Any, args: tuple[Any, ...]) -> BaseException:
    """Make an exception without calling its own ``__init__``."""
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    return error


@functools.lru_cache(maxsize=4096)
def reduces_itself(kind: Any) -> bool:
    """Return whether an object of this type may reduce itself to a name."""
    if kind in FROM_PARTS:
        return True
    plain = kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__
    return not plain and kind.__module__.partition(".")[0] not in _TRUSTED
