"""Objects that pickle by their name in a module, though no worker may know that module.

A few objects are reduced by pickle to their name alone: a function under ``functools.cache``, a
``NewType``, a ``ParamSpec``. cloudpickle believes them, and for one from a DAG file the worker then fails. Here they
are rebuilt from what they are made of, and so is a function under ``functools.singledispatch``, which holds weak
references.
"""

from __future__ import annotations

import functools
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

__all__ = ["FROM_PARTS", "is_dispatcher", "is_function_wrapper", "reduce_cached_property", "reduce_dispatcher"]

_CACHED = type(functools.cache(lambda: None))
_DISPATCHER = getattr(functools.singledispatch(lambda _: None), "__code__", None)
#: Attributes that ``singledispatch`` gives it, and ``update_wrapper``.
_OF_DISPATCHER = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})
_ALIAS: Any = getattr(typing, "TypeAliasType", None)  # Python 3.12 and up


class _Later:
    """Stands in for a cached function until that has arrived: it may well call itself through its cache."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _reduce_cached(cached: Any) -> tuple[Any, ...]:
    parameters = cached.cache_parameters()
    return _make_cached, (parameters["maxsize"], parameters["typed"]), cached.__wrapped__, None, None, _fill_cached


def _make_cached(maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - called by pickle, which knows positions only
    return functools.lru_cache(maxsize, typed)(_Later())


def _fill_cached(cached: Any, function: Callable[..., Any]) -> None:
    cached.__wrapped__.function = function
    functools.update_wrapper(cached, function)


def is_dispatcher(function: FunctionType) -> bool:
    """Return whether a function is what ``functools.singledispatch`` has made."""
    return function.__code__ is _DISPATCHER


def reduce_dispatcher(dispatcher: Any) -> tuple[Any, ...]:
    """Reduce a function under ``functools.singledispatch`` to the functions that it chooses from."""
    attributes = {name: value for name, value in vars(dispatcher).items() if name not in _OF_DISPATCHER}
    state = dict(dispatcher.registry), attributes
    return _make_dispatcher, (dispatcher.__name__,), state, None, None, _fill_dispatcher


def _make_dispatcher(name: str) -> Any:
    def later(*_: object) -> None:
        """Stand in for the function of any type until that has arrived: it may well call the dispatcher."""

    later.__name__ = name
    return functools.singledispatch(later)


def _fill_dispatcher(dispatcher: Any, state: tuple[dict[type, Callable[..., Any]], dict[str, Any]]) -> None:
    registry, attributes = state
    for kind, function in registry.items():
        dispatcher.register(kind, function)
    functools.update_wrapper(dispatcher, registry[object])
    vars(dispatcher).update(attributes)


def _reduce_new_type(new_type: Any) -> tuple[Any, ...]:
    return _make_new_type, (new_type.__qualname__, new_type.__module__, new_type.__supertype__)


def _make_new_type(name: str, module: str, supertype: Any) -> Any:
    make: Any = typing.NewType  # for mypy it is a form of declaration
    new_type = make(name, supertype)
    new_type.__module__ = module
    return new_type


def _reduce_parameter(parameter: Any) -> tuple[Any, ...]:
    return type(parameter), (parameter.__name__,)


def _reduce_alias(alias: Any) -> tuple[Any, ...]:
    return _make_alias, (alias.__name__, alias.__value__, alias.__type_params__)


def _make_alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return _ALIAS(name, value, type_params=parameters)


def _table() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    table: dict[type, Callable[[Any], tuple[Any, ...]]] = {
        _CACHED: _reduce_cached,
        typing.NewType: _reduce_new_type,
        typing.ParamSpec: _reduce_parameter,
        typing.TypeVarTuple: _reduce_parameter,
    }
    return table if _ALIAS is None else {**table, _ALIAS: _reduce_alias}


#: Type of an object that pickles by name to the function that reduces it to its parts instead.
FROM_PARTS = _table()


def reduce_cached_property(prop: functools.cached_property[Any]) -> tuple[Any, ...]:
    """Reduce a ``cached_property`` without the lock that it holds up to Python 3.11."""
    return _make_cached_property, (prop.func, prop.attrname)


def _make_cached_property(function: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    prop = functools.cached_property(function)
    prop.attrname = name
    return prop


@functools.lru_cache(maxsize=4096)
def is_function_wrapper(kind: type) -> bool:
    """Return whether objects of a type are functions under a decorator of wrapt, which refuse to give their name.

    Releases differ in the module that they give for the class; up to 2.1 it is none, which Python takes for its own.
    """
    names = ((base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__)
    return any(package in {"wrapt", "_wrappers", "builtins"} and name == "FunctionWrapper" for package, name in names)
