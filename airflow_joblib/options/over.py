"""Items of several parameters: the signature of a call that has them, and the hint for who calls without ``over``."""

from __future__ import annotations

import typing
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["ITEMS", "call_parameters", "over_hint", "paired", "quoted", "unfilled"]

#: Parameter of a call that takes items of several parameters.
ITEMS = "items"

_POSITIONAL = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
_VARIABLE = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
#: What a task's context fills in, and no item.
_CONTEXT = frozenset(
    str.split("""
    conn dag dag_run data_interval_end data_interval_start ds ds_nodash inlet_events inlets logical_date macros
    outlet_events outlets params prev_data_interval_end_success prev_data_interval_start_success run_id task
    task_instance task_instance_key_str task_reschedule_count ti triggering_asset_events ts ts_nodash var""")
)
#: Types of which no list is one.
_SINGLE = {
    "builtins": ("None", "NoneType", "bool", "bytes", "complex", "float", "int", "str"),
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "pathlib": ("Path", "PurePath"),
    "uuid": ("UUID",),
}
_SINGLE_NAMES = {name for names in _SINGLE.values() for name in names}


def quoted(names: Iterable[str]) -> str:
    """Return names as they stand in ``over``."""
    listed = [f'"{name}"' for name in names]
    return f"({', '.join(listed)}{',' if len(listed) == 1 else ''})"


def call_parameters(
    parameters: Mapping[str, Parameter], over: Collection[str], left_out: Collection[str], shown: str
) -> list[Parameter]:
    """Return the parameters of a call: *items* in the place of the first that takes its part of an item.

    Args:
        parameters: The function's own.
        over: Names of those that an item is spread over.
        left_out: Names of those that nobody passes.
        shown: The function with its signature, for messages.

    Raises:
        InvalidOptionError: The function has another parameter of that name.
    """
    if ITEMS in parameters and ITEMS not in over:
        msg = (
            f"{shown} has a parameter {ITEMS!r}, and with over={quoted(over)} the call has one of that name, which "
            "takes the items. Give the function's own another name."
        )
        raise InvalidOptionError(msg)
    kept = [entry for name, entry in parameters.items() if name not in left_out]
    first = next(place for place, entry in enumerate(kept) if entry.name in over)
    before = kept[:first]
    after = [entry for entry in kept[first:] if entry.name not in over]
    return [*before, _items(kept[first], before, after), *after]


def _items(first: Parameter, before: list[Parameter], after: list[Parameter]) -> Parameter:
    """Return the parameter that takes the items; by name too where its neighbours allow it."""
    kind = first.kind
    if kind is Parameter.POSITIONAL_ONLY and not any(entry.kind is kind for entry in after):
        kind = Parameter.POSITIONAL_OR_KEYWORD
    behind_default = kind in _POSITIONAL and any(entry.default is not Parameter.empty for entry in before)
    return Parameter(ITEMS, kind, default=None if behind_default else Parameter.empty)


def unfilled(parameters: Mapping[str, Parameter], item: str, given: Collection[str]) -> list[str]:
    """Return the parameters that each item may be meant to have a value for, the first included; none if it is alone.

    Args:
        parameters: Those of a call.
        item: Name of the one that takes the item.
        given: Names of those that the call fills in.
    """
    entries = {
        name: entry for name, entry in parameters.items() if entry.kind not in _VARIABLE and name not in _CONTEXT
    }
    required = [name for name, entry in entries.items() if entry.default is Parameter.empty]
    for names in ({*required} - {*given}, {*required}, {*entries} - {*given}):
        if names - {item}:
            return [name for name in entries if name == item or name in names]
    return []


def over_hint(names: Collection[str]) -> str:
    """Return the sentence that names ``over``, with a blank before it; empty where there are no names."""
    if len(names) < 2:  # noqa: PLR2004 - several parameters
        return ""
    return (
        f" If each item has a value for {' and '.join(map(repr, names))}, decorate the function with "
        f"over={quoted(names)} and pass the items as tuples in that order, as zip() makes them of lists."
    )


def paired(parameters: Mapping[str, Parameter], item: str, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments that are lists as long as the items, though their annotation is of a single value."""
    items: Any = given.get(item)
    if type(items) not in {list, tuple}:
        return []
    return [
        name
        for name, value in given.items()
        if name != item
        and parameters[name].kind not in _VARIABLE
        and type(value) in {list, tuple}
        and len(value) == len(items)
        and _is_single(parameters[name].annotation)
    ]


def _is_single(annotation: Any) -> bool:
    """Return whether an annotation stands for values of which none is a list."""
    if isinstance(annotation, str):
        return all(part.strip().rpartition(".")[2] in _SINGLE_NAMES for part in annotation.split("|"))
    kinds = typing.get_args(annotation) or (annotation,)
    return all(isinstance(kind, type) and kind.__name__ in _SINGLE.get(_package(kind), ()) for kind in kinds)


def _package(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]
