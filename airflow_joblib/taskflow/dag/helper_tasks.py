"""Tasks around a parallel task that the library makes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["make_helper"]


def make_helper(function: Callable[..., list[Any]], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return TaskFlow's decorator object for a function that returns a list.

    Args:
        function: What the task runs; the task is named after it, without the underscore of what is private.
        options: Options of the task, which go before.
    """
    defaults = {"task_id": function.__name__.lstrip("_"), "show_return_value_in_logs": False}
    return task(**{**defaults, **options}, multiple_outputs=False)(function)  # type: ignore[no-any-return]
