"""The call of a function over whose parameters each item is spread."""

from __future__ import annotations

from inspect import Parameter
from typing import TYPE_CHECKING, Any

from airflow_joblib.wire.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["spread_call"]


def spread_call(
    function: Callable[..., Any],
    entries: Mapping[str, Parameter],
    over: tuple[str, ...],
    factories: Mapping[str, Callable[..., Any]],
    given: Mapping[str, Any],
) -> Call:
    """Return the call of one item: by name whatever can be, since a resource may stand between two arguments.

    Args:
        function: The user's function.
        entries: Its parameters.
        over: Names of those that an item is spread over.
        factories: Parameter name to the function that makes a worker's resource.
        given: What all items share, by parameter.
    """
    args: list[Any] = []
    labels: list[str] = []
    shared: dict[str, Any] = {}
    places = dict.fromkeys(over, -1)
    for name in _positional(entries, over, given):
        if name in places:
            places[name] = len(args) + sum(place >= 0 for place in places.values())
            continue
        starred = entries[name].kind is Parameter.VAR_POSITIONAL
        values = given.get(name, ()) if starred else (given.get(name, entries[name].default),)
        labels += [f"*{name}[{place}]" if starred else name for place in range(len(values))]
        args += values
    for name in set(given) & set(entries) - set(over) - set(labels):
        kind = entries[name].kind
        if kind is Parameter.VAR_KEYWORD:
            shared.update(given[name])
        elif kind is not Parameter.VAR_POSITIONAL:
            shared[name] = given[name]
    return Call(function, tuple(args), None, (), shared, factories, tuple(labels), over, tuple(places.values()))


def _positional(entries: Mapping[str, Parameter], over: tuple[str, ...], given: Mapping[str, Any]) -> list[str]:
    """Return the parameters that are passed by place: those that have to be, and an item's own where they lead."""
    starred = next((name for name, entry in entries.items() if entry.kind is Parameter.VAR_POSITIONAL), None)
    if starred is not None and starred in given:
        return [*entries][: [*entries].index(starred) + 1]
    only = [name for name, entry in entries.items() if entry.kind is Parameter.POSITIONAL_ONLY]
    used = [place for place, name in enumerate(only) if name in over or name in given]
    if not only and [*entries][: len(over)] == [*over]:
        return [*over]
    return only[: max(used, default=-1) + 1]
