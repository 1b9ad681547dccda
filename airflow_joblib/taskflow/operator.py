"""The operator behind a parallel task: a PythonOperator whose callable fans out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.python import PythonOperator

from airflow_joblib.taskflow.airflow_internals import DecoratedOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["ParallelOperator"]


class ParallelOperator(DecoratedOperator, PythonOperator):
    """Runs a parallel task's fan-out inside one task instance and returns the list of results.

    Args:
        python_callable: The :class:`~airflow_joblib.ParallelTask`.
        op_args: Positional arguments of the call, templated.
        op_kwargs: Keyword arguments of the call, templated.
    """

    template_fields: Sequence[str] = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}  # noqa: RUF012 - Airflow's
    custom_operator_name = "@task.parallel"

    def __init__(
        self, *, python_callable: Any, op_args: Collection[Any], op_kwargs: Mapping[str, Any], **kwargs: Any
    ) -> None:
        upstream = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        kwargs.setdefault("show_return_value_in_logs", False)  # a list of all results is too long for a log
        super().__init__(kwargs_to_upstream=upstream, **upstream, **kwargs)

    def determine_kwargs(self, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the call's keyword arguments, and the context parameters that the function names.

        A function with ``**kwargs`` gets the call's own only: the whole context can't travel to a worker.
        """
        named = inspect.signature(self.python_callable).parameters
        given = dict(self.op_kwargs)
        positional = set(list(named)[: len(self.op_args)])
        return {**{key: context[key] for key in named if key in context and key not in positional}, **given}

    def execute_callable(self) -> list[Any]:
        """Run the fan-out."""
        return self.python_callable.map(*self.op_args, **self.op_kwargs)  # type: ignore[no-any-return, attr-defined]
