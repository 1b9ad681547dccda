"""Generators of random numbers that all items share: each worker process has a copy, and so they repeat."""

from __future__ import annotations

import functools
import itertools
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.finding import closure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["REPEATS", "shared_generators"]

REPEATS = (
    "%s: %s is a generator of random numbers that all items share. Each worker has a copy of it, so items draw the "
    "same numbers. Make one in each item, from a seed that comes with the item: "
    "numpy.random.SeedSequence(seed).spawn(n) gives as many as there are items."
)
#: Whatever is derived from these draws from a state of its own; SystemRandom has none.
_KINDS = {("random", "Random"), ("numpy.random._generator", "Generator"), ("numpy.random.mtrand", "RandomState")}
_DEEPEST, _MOST = 5, 1000


def shared_generators(function: object, arguments: Mapping[str, object]) -> list[str]:
    """Return the paths of the generators that *function* and its shared *arguments* refer to, of those soon found."""
    seen: dict[int, object] = {}
    found: list[str] = []
    roots = [("function", function), *((f"argument {name!r}", value) for name, value in arguments.items())]
    level = roots
    for _ in range(_DEEPEST):
        below: list[tuple[str, Any]] = []
        for path, each in level:
            if id(each) in seen or len(seen) >= _MOST:
                continue
            seen[id(each)] = each
            if _is_generator(each):
                found.append(path.removeprefix("function → "))
            else:
                with suppress(Exception):  # code of the user may run, and a warning is not worth its exception
                    some = itertools.islice(_parts(each), _MOST - len(below))
                    below += [(f"{path} → {name}", part) for name, part in some]
        level = below
    return found


def _is_generator(value: object) -> bool:
    names = {(kind.__module__, kind.__name__) for kind in type(value).__mro__}
    return bool(names & _KINDS) and ("random", "SystemRandom") not in names


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind is FunctionType:
        yield from _of_function(value)
    elif issubclass(kind, functools.partial):
        yield from [("partial", value.func), *(("argument", each) for each in value.args), *value.keywords.items()]
    elif kind is MethodType:
        yield from (("self", value.__self__), ("method", value.__func__))
    elif kind is dict:
        yield from ((f"[{key!r}]" if str(key).isidentifier() else "[...]", part) for key, part in value.items())
    elif kind in (list, tuple):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif not issubclass(kind, type | ModuleType | BuiltinFunctionType):
        yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code, scope = function.__code__, function.__globals__
    yield from ((f"global {name!r}", scope[name]) for name in code.co_names if name in scope)
    yield from ((f"closure {name!r}", part) for name, part in closure_of(function).items())
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    yield from (
        (f"default {name!r}", part) for name, part in zip(names[len(names) - len(defaults) :], defaults, strict=True)
    )
    yield from ((f"default {name!r}", part) for name, part in (function.__kwdefaults__ or {}).items())
