"""How one item becomes a call of the user's function.

A call ``thumbnail(paths, width=320)`` is bound once, in the task; what is left for a worker is a
:class:`~airflow_joblib.wire.call.Call` that takes one item. Every parameter has one source: the items, an argument of
the call, a resource of the worker, or the function's own default.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.options.over import ITEMS, call_parameters, over_hint, paired, unfilled
from airflow_joblib.wire.call import Call, function_name, parameters_by_name
from airflow_joblib.wire.spread_call import spread_call

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = ["ItemSignature"]

_NAMED = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
_ITEM = object()


class ItemSignature:
    """The signature of a function of one item, and the checks that it can be one.

    Attributes:
        full: The function's own signature.
        public: That of a call: without the parameters that a worker's resources fill in, and with *items* in the place
            of those that an item is spread over.
        item: Name of the parameter of a call that takes the items.
        over: Names of the parameters that an item is spread over; empty where one takes it whole.
        asynchronous: Whether it is an ``async def``, whose items run together on an event loop.
    """

    def __init__(
        self, function: Callable[..., Any], over: str | tuple[str, ...] | None, factories: Mapping[str, Any]
    ) -> None:
        """Raise TypeError for a function that can't handle items, InvalidOptionError for names it does not have."""
        self.asynchronous = _check_kind(function)
        self.function = function
        self.full = _signature(function)
        self.over = over if isinstance(over, tuple) else ()
        one = None if isinstance(over, tuple) else over
        self._takes = tuple(self._item_name(name) for name in self.over or (one,))
        self.item = ITEMS if self.over else self._takes[0]
        self.factories = factories
        for name, factory in factories.items():
            self._check_resource(name)
            self._check_factory(name, factory)
        kept = [entry for name, entry in self.full.parameters.items() if name not in factories]
        if self.over:
            kept = call_parameters(self.full.parameters, self.over, factories, self._shown())
        self.public = self.full.replace(parameters=kept, return_annotation=Signature.empty)

    def _shown(self) -> str:
        return f"{function_name(self.function)}{self.full}"

    def _item_name(self, over: str | None) -> str:
        parameters = self.full.parameters
        if over is not None and over not in parameters:
            named = f"over={over!r} names" if not self.over else f"{over!r} in over={self.over!r} is"
            msg = f"{named} no parameter of {self._shown()}."
            raise InvalidOptionError(msg)
        name = over or next(iter(parameters), None)
        variable = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        if name is None or parameters[name].kind in variable:
            msg = (
                f"{self._shown()} has no parameter of its own that could take the item. "
                "Let its first parameter take one item, or name another one with over=."
            )
            raise TypeError(msg)
        return name

    def _check_resource(self, name: str) -> None:
        shown = self._shown()
        entry = self.full.parameters.get(name)
        if entry is None or entry.kind not in _NAMED:
            msg = f"per_worker[{name!r}] is no parameter that {shown} takes by name. Add it, or mend the name."
            raise InvalidOptionError(msg)
        starred = any(other.kind is Parameter.VAR_POSITIONAL for other in self.full.parameters.values())
        if starred and entry.kind is not Parameter.KEYWORD_ONLY:
            msg = f"per_worker[{name!r}] stands before the starred parameter of {shown}. Make it keyword-only."
            raise InvalidOptionError(msg)
        if name in self._takes:
            msg = f"per_worker[{name!r}] and the items are two sources for the same parameter of {shown}. Keep one."
            raise InvalidOptionError(msg)

    def _check_factory(self, name: str, factory: Callable[..., Any]) -> None:
        kinds = inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
        if any(is_kind(factory) for is_kind in kinds):
            msg = (
                f"per_worker[{name!r}] is no plain function, so calling it makes nothing. Decorate it with "
                "contextlib's contextmanager."
            )
            raise InvalidOptionError(msg)
        if not self.asynchronous and _is_asynchronous(factory):
            msg = (
                f"per_worker[{name!r}] makes an asynchronous context manager, which {function_name(self.function)}, a "
                "plain function, can't enter. Use contextlib's contextmanager, or open the resource in the function, "
                "as with asyncio.run(...)."
            )
            raise InvalidOptionError(msg)
        shared = set(self.full.parameters) - {*self._takes} - set(self.factories)
        needed = {key for key, entry in parameters_by_name(factory).items() if entry.default is Parameter.empty}
        if unknown := sorted(needed - shared):
            msg = (
                f"per_worker[{name!r}] requires {', '.join(map(repr, unknown))}, but a resource's function can only "
                f"take arguments that all items share: {', '.join(sorted(shared)) or 'there are none'}."
            )
            raise InvalidOptionError(msg)

    def check_concurrency(self, concurrency: int | None) -> None:
        """Raise InvalidOptionError for a plain function with a number of items that are to run at the same time."""
        if concurrency is not None and not self.asynchronous:
            msg = (
                f"concurrency is for functions that are async, and {function_name(self.function)} is a plain one, of "
                "which a worker runs one item at a time. For items that wait use backend='threading' with more n_jobs, "
                "or make it an async function."
            )
            raise InvalidOptionError(msg)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Call]:
        """Split the arguments of a call into the items and the call of one item.

        Raises:
            TypeError: An argument is missing, unknown or given twice.
        """
        given = self.given(args, kwargs)
        missing = [name for name, entry in self.public.parameters.items() if name not in given and _required(entry)]
        if self.item not in given or missing:
            what = f"missing a required argument: {(missing or [self.item])[0]!r}"
            raise self.wrong(what, given)
        self.check_pairs(given)
        items, given[self.item] = given[self.item], _ITEM
        return items, replace(self._call(given), asynchronous=self.asynchronous)

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by the parameter that takes them; some may be missing.

        Raises:
            TypeError: An argument is unknown or given twice.
        """
        if twice := sorted(set(kwargs) & set(self.factories)):
            what = f"got {twice[0]!r} from two sources: the call and per_worker. Keep one"
            raise self.wrong(what)
        if filled := sorted(set(kwargs) & {*self.over} - {self.item}):
            what = f"got {filled[0]!r}, which each item has a value for. Pass the items as {ITEMS!r}"
            raise self.wrong(what)
        try:
            return dict(self.public.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise self.wrong(str(error)) from None

    def wrong(self, what: str, given: Collection[str] = ()) -> TypeError:
        """Return the error of a call whose arguments don't fit, with what it takes.

        Args:
            what: Why they don't.
            given: Names of the parameters that it fills in.
        """
        return TypeError(
            f"{function_name(self.function)}() {what}. It takes {self.public}, the items for {self.item!r}."
            f"{self.hint(given)}"
        )

    def hint(self, given: Collection[str] = ()) -> str:
        """Return the sentence about ``over`` for a call that may be meant so; empty where it can't be."""
        return "" if self.over else over_hint(unfilled(self.public.parameters, self.item, given))

    def check_pairs(self, given: Mapping[str, Any]) -> None:
        """Refuse two lists that are to be gone through together: every item would get the whole of the second.

        Raises:
            TypeError: An argument is a list as long as the items, and its parameter is annotated as a single value.
        """
        names = [] if self.over else paired(self.public.parameters, self.item, given)
        if names:
            msg = (
                f"{function_name(self.function)}() got a {type(given[names[0]]).__name__} for {names[0]!r}, as long as "
                f"that of the items, and its parameter takes a single value: every item would get all of it."
                f"{over_hint([self.item, *names])}"
            )
            raise TypeError(msg)

    def _call(self, given: Mapping[str, Any]) -> Call:
        """Pass by name whatever can be, since a resource may stand between two arguments."""
        if self.over:
            return spread_call(self.function, self.full.parameters, self.over, self.factories, given)
        entries = self.full.parameters
        leads = next(iter(entries)) == self.item
        starred = any(entries[name].kind is Parameter.VAR_POSITIONAL for name in given)
        labels: list[str] = []
        args: list[Any] = []
        shared: dict[str, Any] = {}
        for name, value in given.items():
            kind = entries[name].kind
            if kind is Parameter.VAR_POSITIONAL:
                labels += [f"*{name}[{place}]" for place in range(len(value))]
                args += value
            elif kind is Parameter.VAR_KEYWORD:
                shared.update(value)
            elif kind is Parameter.POSITIONAL_ONLY or (
                kind is not Parameter.KEYWORD_ONLY and (starred or (leads and value is _ITEM))
            ):
                labels.append(name)
                args.append(value)
            else:
                shared[name] = value
        return self._split_at_item(args, labels, shared)

    def _split_at_item(self, args: list[Any], labels: list[str], shared: dict[str, Any]) -> Call:
        if shared.get(self.item) is _ITEM:
            del shared[self.item]
            return Call(self.function, tuple(args), self.item, (), shared, self.factories, tuple(labels))
        place = labels.index(self.item)
        before, after = tuple(args[:place]), tuple(args[place + 1 :])
        del labels[place]
        return Call(self.function, before, None, after, shared, self.factories, tuple(labels))


def _required(entry: Parameter) -> bool:
    return entry.default is Parameter.empty and entry.kind not in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


def _signature(function: Callable[..., Any]) -> Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        msg = (
            f"{function_name(function)} has no signature that Python can read. Decorate a function of your own that "
            "takes one item and calls it."
        )
        raise TypeError(msg) from None


def _check_kind(function: Callable[..., Any]) -> bool:
    """Refuse a function whose call makes a generator; return whether it is asynchronous."""
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    call = plain if inspect.isroutine(plain) else _call_method(plain)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        msg = (
            f"{function_name(function)} is a generator function, whose call runs nothing. Decorate a function, plain "
            "or async, that handles one item and returns its result."
        )
        raise TypeError(msg)
    return inspect.iscoroutinefunction(call)


def _call_method(instance: object) -> object:
    return type(instance).__call__


def _is_asynchronous(factory: Any) -> bool:
    """Return whether what a resource's function makes can only be entered by ``async with``, as far as it shows."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    made = factory if isinstance(factory, type) else getattr(factory, "__annotations__", {}).get("return")
    if isinstance(made, type) and hasattr(made, "__aenter__") and not hasattr(made, "__enter__"):
        return True
    return inspect.isroutine(factory) and inspect.isasyncgenfunction(inspect.unwrap(factory))
