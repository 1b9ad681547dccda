"""The modules that a function refers to: those it holds, those it imports, and where a value comes from."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.by_value import is_own
from airflow_joblib.pickling.finding import closure_of
from airflow_joblib.system.internals import gone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_joblib.pickling.own_modules.bytecode import Import

__all__ = ["from_elsewhere", "held_by", "imported", "module_of", "submodules"]


def submodules(state: Mapping[str, Any]) -> Iterable[ModuleType]:
    """Return the submodules that cloudpickle has found a function to use, from the function's state.

    Raises:
        ParallelTaskError: This cloudpickle has no list of them.
    """
    if "_cloudpickle_submodules" not in state:
        raise gone("cloudpickle", "'_cloudpickle_submodules' in the state of a function")
    found: Iterable[ModuleType] = state["_cloudpickle_submodules"]
    return found


def held_by(function: FunctionType, state: Mapping[str, Any]) -> list[ModuleType]:
    """Return the modules among a function's globals, in its closure and under those."""
    values = [*state.get("__globals__", {}).values(), *submodules(state)]
    values += closure_of(function).values()
    return [value for value in values if type(value) is ModuleType]


def from_elsewhere(value: object) -> bool:
    """Return whether a module only has *value* because it has imported it from an installed package."""
    named = type(value) in {ModuleType, FunctionType} or issubclass(type(value), type)
    return named and not is_own(module_of(value))


def module_of(value: Any) -> str:
    """Return the name of the module that a value is, or is defined in; empty for none."""
    return value.__name__ if type(value) is ModuleType else getattr(value, "__module__", None) or ""


def imported(name: str, found: Import) -> dict[str, ModuleType]:
    """Import one of the user's own modules here, and return it by name with all that the statement brings along.

    What can't be imported here is left out: it can't be there either, and that is the item's to find out.
    """
    parts = name.split(".")
    names = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    modules: dict[str, ModuleType] = {}
    try:
        for each in names:
            modules[each] = importlib.import_module(each)
    except Exception:  # noqa: BLE001 - the module's own code runs
        return {}
    for member in found.members:
        if not hasattr(modules[name], member) and hasattr(modules[name], "__path__"):
            _try_import(f"{name}.{member}")
        if isinstance(submodule := sys.modules.get(f"{name}.{member}"), ModuleType):
            modules[f"{name}.{member}"] = submodule
    return modules


def _try_import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - as above
        return
