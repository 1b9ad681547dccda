"""TaskFlow's mapping of a parallel task, whose every instance takes one list of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.input_checks import check_items
from airflow_joblib.taskflow.dag.operator import MappedParallelOperator

if TYPE_CHECKING:
    from airflow.sdk import XComArg

__all__ = ["Mapped"]


class Mapped:
    """TaskFlow's decorator object, which looks at what the task is mapped over before Airflow does.

    Args:
        task: TaskFlow's object.
        name: Name of the function.
        item: Name of the parameter that takes the items.
    """

    def __init__(self, task: Any, name: str, item: str) -> None:
        self._task = task
        self._name = name
        self._item = item

    def __getattr__(self, name: str) -> Any:
        """Return what else TaskFlow's object has."""
        return getattr(self._task, name)

    def partial(self, **kwargs: Any) -> Mapped:
        """Fix arguments that all mapped instances share."""
        return Mapped(self._task.partial(**kwargs), self._name, self._item)

    def expand(self, **kwargs: Any) -> XComArg:
        """Make the mapped task from the values that each argument takes.

        Raises:
            TypeError: What is given for the items is no list of lists.
        """
        given = kwargs.get(self._item)
        for place, items in enumerate(given if isinstance(given, list | tuple) else ()):
            self._check(items, f"expand({self._item}=...)", f"Element {place}")
        return _ours(self._task.expand(**kwargs))

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Make the mapped task from the arguments of each instance.

        Raises:
            TypeError: What is given for the items of one is no list.
        """
        for place, given in enumerate(kwargs if isinstance(kwargs, list | tuple) else ()):
            if isinstance(given, Mapping) and self._item in given:
                self._check(given[self._item], "expand_kwargs(...)", f"{self._item!r} of element {place}")
        return _ours(self._task.expand_kwargs(kwargs, strict=strict))

    def _check(self, items: object, call: str, which: str) -> None:
        if hasattr(type(items), "resolve"):  # as an XComArg
            return
        try:
            check_items(items, self._item)
        except TypeError as error:
            msg = (
                f"{self._name}.{call} makes a task instance of each element, so each must be a list of items for "
                f"{self._item!r}. {which} is of type {type(items).__name__}. Pass a list of lists, as split() makes "
                f"it, or call {self._name}(...) with the list for a single instance."
            )
            raise TypeError(msg) from error


def _ours(made: Any) -> XComArg:
    """Have a mapped task get ready as one of ours does: TaskFlow takes no other class for it than its own."""
    made.operator.__class__ = MappedParallelOperator
    return made  # type: ignore[no-any-return]
