"""The user's function with everything but the item: what a worker calls for each item."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from airflow_joblib.wire.spread import values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Call", "function_name", "parameters_by_name"]

_NAMED = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}


def function_name(function: Callable[..., object]) -> str:
    """Return the name that a function, a partial, a method or a callable object goes by."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


@dataclass(frozen=True, slots=True)
class Call:
    """The function with everything but the item.

    Attributes:
        function: The user's function of one item.
        before: Positional arguments before the item.
        name: Name by which the item is passed; None where it is positional.
        after: Positional arguments after the item.
        shared: Arguments by name, the same for all items.
        factories: Parameter name to the function that makes a worker's resource.
        labels: Names of the positional arguments, those before the item first.
        over: Names of the parameters that an item is spread over; empty where one takes it whole.
        retry_on: Types of exceptions that are worth another try of an item.
        places: Where each of them stands among the positional arguments; -1 for one that is passed by name.
        asynchronous: Whether the function is an ``async def``.
    """

    function: Callable[..., Any]
    before: tuple[Any, ...] = ()
    name: str | None = None
    after: tuple[Any, ...] = ()
    shared: Mapping[str, Any] = field(default_factory=dict)
    factories: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    asynchronous: bool = False
    retry_on: tuple[type[Exception], ...] = (Exception,)

    def arguments(self) -> dict[str, Any]:
        """Return every argument that the items share, by name."""
        return {**dict(zip(self.labels, (*self.before, *self.after), strict=True)), **self.shared}

    def parts(self) -> dict[str, object]:
        """Return what a worker has to load of the call, by what each part is called."""
        found: dict[str, object] = {function_name(self.function): self.function}
        found.update((f"per_worker {name!r}", factory) for name, factory in self.factories.items())
        found.update((f"argument {name!r}", value) for name, value in self.arguments().items())
        return found

    def of_item(self, resources: Mapping[str, Any]) -> Callable[[Any], Any]:
        """Return the function of one item, given the worker's resources."""
        named = {**self.shared, **resources}
        function = functools.partial(self.function, **named) if named else self.function
        if self.over:
            return self._of_spread_item(function)
        if self.name is not None:
            before, name = self.before, self.name
            return lambda item: function(*before, **{name: item})
        if self.before or self.after:
            before, after = self.before, self.after
            return lambda item: function(*before, item, *after)
        return function

    def _of_spread_item(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        names, before = self.over, self.before
        if not before and self.places == tuple(range(len(names))):
            return lambda item: function(*values_of(item, names))
        positional = sorted((place, part) for part, place in enumerate(self.places) if place >= 0)
        by_name = [(name, part) for part, name in enumerate(names) if self.places[part] < 0]

        def of_item(item: Any) -> Any:
            values, args = values_of(item, names), [*before]
            for place, part in positional:
                args.insert(place, values[part])
            return function(*args, **{name: values[part] for name, part in by_name})

        return of_item

    def factory_arguments(self, factory: Callable[..., Any]) -> dict[str, Any]:
        """Return the shared arguments that a resource's factory takes by name."""
        shared = {**_defaults(self.function), **self.arguments()}
        return {name: shared[name] for name in parameters_by_name(factory) if name in shared}


def parameters_by_name(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return the parameters that can be passed by name; none for a builtin that has no signature."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: entry for name, entry in found.items() if entry.kind in _NAMED}


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    found = parameters_by_name(function)
    return {name: entry.default for name, entry in found.items() if entry.default is not Parameter.empty}
