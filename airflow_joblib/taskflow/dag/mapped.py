"""TaskFlow's mapping of a parallel task, whose every instance takes one list of items."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.input_checks import check_items
from airflow_joblib.taskflow.dag.operator import MappedParallelOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow.sdk import XComArg

    from airflow_joblib.taskflow.dag.types import Parallel

__all__ = ["Mapped", "is_resolved_later"]


class Mapped:
    """TaskFlow's decorator object, which looks at what the task is mapped over before Airflow does.

    Args:
        task: TaskFlow's object.
        parallel: The parallel task.
    """

    def __init__(self, task: Any, parallel: Parallel) -> None:
        self._task = task
        self._parallel = parallel

    def __getattr__(self, name: str) -> Any:
        """Return what else TaskFlow's object has."""
        return getattr(self._task, name)

    def partial(self, **kwargs: Any) -> Mapped:
        """Fix arguments that all mapped instances share."""
        with self._hint_on_error(kwargs):
            return Mapped(self._task.partial(**kwargs), self._parallel)

    def expand(self, **kwargs: Any) -> XComArg:
        """Make the mapped task from the values that each argument takes.

        Raises:
            TypeError: What is given for the items is no list of lists.
        """
        item = self._parallel.item
        with self._hint_on_error(kwargs):
            given = kwargs.get(item)
            for place, items in enumerate(given if isinstance(given, list | tuple) else ()):
                self._check(items, f"expand({item}=...)", f"Element {place}")
            return _ours(self._task.expand(**kwargs))

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Make the mapped task from the arguments of each instance.

        Raises:
            TypeError: What is given for the items of one is no list.
        """
        item = self._parallel.item
        elements = [each for each in kwargs if isinstance(each, Mapping)] if isinstance(kwargs, list | tuple) else []
        with self._hint_on_error(elements[0] if elements else {}):
            for place, given in enumerate(elements):
                if item in given:
                    self._check(given[item], "expand_kwargs(...)", f"{item!r} of element {place}")
            return _ours(self._task.expand_kwargs(kwargs, strict=strict))

    @contextmanager
    def _hint_on_error(self, names: Collection[str]) -> Iterator[None]:
        """Add the hint at ``over`` to the error of a call that may be meant so."""
        try:
            yield
        except TypeError as error:
            hint = self._parallel.signature.hint(set(self._parallel.__signature__.parameters) - {*names})
            if not hint or hint in str(error):
                raise
            msg = f"{error}{hint}"
            raise TypeError(msg) from error.__cause__

    def _check(self, items: object, call: str, which: str) -> None:
        if is_resolved_later(items):
            return
        name, item = self._parallel.__name__, self._parallel.item
        try:
            check_items(items, item)
        except TypeError as error:
            msg = (
                f"{name}.{call} makes a task instance of each element, so each must be a list of items for "
                f"{item!r}. {which} is of type {type(items).__name__}. Pass a list of lists, as split() makes "
                f"it, or call {name}(...) with the list for a single instance."
            )
            raise TypeError(msg) from error
        if isinstance(items, list | tuple) and not any(map(is_resolved_later, items)):
            check_items(items, item, over=self._parallel.over)


def is_resolved_later(value: object) -> bool:
    """Return whether Airflow resolves a value when the task runs, as an XComArg."""
    return hasattr(type(value), "resolve")


def _ours(made: Any) -> XComArg:
    """Have a mapped task get ready as one of ours does: TaskFlow takes no other class for it than its own."""
    made.operator.__class__ = MappedParallelOperator
    return made  # type: ignore[no-any-return]
