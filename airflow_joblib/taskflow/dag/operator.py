"""The operator behind a parallel task: a PythonOperator whose callable fans out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self, cast

from airflow.providers.standard.operators.python import PythonOperator

from airflow_joblib.taskflow.airflow_internals import DecoratedMappedOperator, DecoratedOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["MappedParallelOperator", "ParallelOperator"]


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

    @property
    def is_async(self) -> bool:
        """False: what Airflow calls is no coroutine function, though an item's function may be one."""
        return False

    def determine_kwargs(self, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the call's keyword arguments, and the context parameters that the function names.

        A function with ``**kwargs`` gets the call's own only: the whole context can't travel to a worker.
        """
        named = inspect.signature(self.python_callable).parameters
        given = dict(self.op_kwargs)
        positional = set(list(named)[: len(self.op_args)])
        return {**{key: context[key] for key in named if key in context and key not in positional}, **given}

    def prepare_for_execution(self) -> Self:
        """Get ready, before templates are rendered and XComs loaded."""
        cast("Any", self.python_callable).fork_early()
        return super().prepare_for_execution()  # type: ignore[no-any-return]

    def execute_callable(self) -> list[Any]:
        """Run the fan-out."""
        from airflow_joblib.pools.early import close_early  # late: whoever parses a DAG file forks nothing

        try:
            return self.python_callable.map(*self.op_args, **self.op_kwargs)  # type: ignore[no-any-return, attr-defined]
        finally:
            close_early()


class MappedParallelOperator(DecoratedMappedOperator):
    """What stands for a mapped parallel task until an instance of it knows its arguments."""

    __slots__ = ()

    def prepare_for_execution(self) -> Self:
        """Get ready, before the arguments of the instance are loaded."""
        cast("Any", self.python_callable).fork_early()
        return super().prepare_for_execution()  # type: ignore[no-any-return]
