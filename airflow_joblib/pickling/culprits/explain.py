"""Turn a failed check into culprits: always at least one, whatever the search finds."""

from __future__ import annotations

import functools
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import Culprit
from airflow_joblib.pickling.by_value import instance_dict
from airflow_joblib.pickling.culprits.advice import WAY_OUT, Failure, advise
from airflow_joblib.pickling.culprits.containers import Child
from airflow_joblib.pickling.culprits.elsewhere import find_elsewhere
from airflow_joblib.pickling.culprits.search import find_all_culprits
from airflow_joblib.pickling.refusals import dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


__all__ = ["explain_call", "explain_function", "explain_items", "explain_loading", "explain_shared"]

ONLY_TOGETHER_REASON = "each part of it can be pickled alone, but not all of it together."


def explain_function(
    function: Callable[..., object],
    factories: Mapping[str, Callable[..., object]],
    retry_on: Sequence[type[Exception]],
    error: Exception,
) -> list[Culprit]:
    """Return why *function*, *factories* and *retry_on* could not be pickled when that raised *error*."""
    roots = [Child(_name_of(function), function)]
    roots += [Child(f"per_worker {name!r}", factory) for name, factory in factories.items()]
    roots += [Child(f"item_retry_on {kind.__name__}", kind) for kind in retry_on]
    found = find_all_culprits(roots)
    if found:
        return found
    reason, advice = advise(type(function), Failure(error))
    return [Culprit(roots[0].label, dotted_name(type(function)), reason, advice)]


def _name_of(function: Any) -> str:
    """Return what a path calls *function*, without reading an attribute of the user's object."""
    while type(function) is functools.partial:
        function = function.func
    kind = type(function)
    if kind in {FunctionType, MethodType, BuiltinFunctionType} or issubclass(kind, type):
        return function.__name__  # type: ignore[no-any-return]
    name = instance_dict(function).get("__name__")  # as functools.wraps leaves it
    return name if type(name) is str else kind.__name__


def explain_call(function: object, error: Exception) -> Culprit:
    """Return why a call of *function*, each part of which can be pickled, could not be when that raised *error*."""
    reason = f"{ONLY_TOGETHER_REASON} Pickling it has raised {type(error).__name__}."
    return Culprit(f"the call of {_name_of(function)}", dotted_name(type(function)), reason, WAY_OUT)


def explain_shared(shared: Mapping[str, object]) -> list[Culprit]:
    """Return why the shared arguments could not be pickled."""
    roots = [Child(f"argument {name!r}", value) for name, value in shared.items()]
    return find_all_culprits(roots) or [_only_together("shared arguments", shared)]


def explain_loading(parts: Mapping[str, object], error: BaseException) -> str:
    """Return where lies what a worker could not load, as a sentence; empty where that is not found.

    Args:
        parts: What was to be loaded, by what each part is called.
        error: What loading has raised there.
    """
    found = find_elsewhere([Child(label, part) for label, part in parts.items()], error)
    return "" if found is None else f" What can't be loaded there: {found.path} ({found.type})."


def explain_items(items: Sequence[object], indices: Sequence[int]) -> list[Culprit]:
    """Return why *items*, which have these *indices* in the input, could not be pickled."""
    roots = [Child(f"item {index}", item) for index, item in zip(indices, items, strict=True)]
    if len(roots) == 1:
        return find_all_culprits(roots) or [_only_together(roots[0].label, items[0])]
    return find_all_culprits(roots) or [_only_together(f"items {indices[0]} to {indices[-1]}", items)]


def _only_together(path: str, value: object) -> Culprit:
    return Culprit(path, dotted_name(type(value)), ONLY_TOGETHER_REASON, WAY_OUT)
