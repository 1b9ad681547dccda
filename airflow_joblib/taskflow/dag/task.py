"""From a parallel task to an Airflow task: the checks at parse time, then TaskFlow's own machinery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from airflow_joblib.exceptions import Culprit, NotPicklableError
from airflow_joblib.fan_out.input_checks import check_items
from airflow_joblib.options.error_collector import errors_collected, report_task
from airflow_joblib.taskflow.airflow_internals import task_decorator_factory
from airflow_joblib.taskflow.dag.mapped import Mapped, is_resolved_later
from airflow_joblib.taskflow.dag.operator import ParallelOperator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from airflow.sdk import XComArg

    from airflow_joblib.taskflow.dag.types import Parallel

__all__ = ["STAYING", "airflow_task", "make_task", "mapped_task"]

_STAY = "It belongs to the process of the task."
_VALUES = (
    "Take the value you need instead: `run_id`, `ds`, `logical_date`, `params` and `task_instance_key_str` can travel"
)
_CURRENT = "get_current_context(), called in the function,"

#: Context parameters that can't travel to a worker process, with the way out.
STAYING = {
    **dict.fromkeys(("ti", "task_instance"), f"{_VALUES}; {_CURRENT} has `try_number` and `map_index` too."),
    **dict.fromkeys(("dag", "task"), f"{_VALUES}, or pass what you need as a shared argument."),
    "conn": "Use Connection.get() or a hook in the function instead: a worker process can request it itself.",
    "var": "Use Variable.get() in the function instead: a worker process can request it itself.",
    "inlet_events": f"Leave it out: {_CURRENT} has it.",
    "outlet_events": "Use it in a task downstream.",
}


def airflow_task(parallel: Parallel, given: Collection[str] = ()) -> Any:
    """Check what can be checked before the task exists, and return TaskFlow's decorator object for it.

    Args:
        parallel: The parallel task.
        given: Parameters that the call itself fills in.

    Raises:
        NotPicklableError: The function, or something it refers to, can't reach a worker process.
    """
    report_task(parallel)
    if parallel.uses_processes():
        with errors_collected(parallel):
            _refuse_staying(parallel, given)
        with errors_collected(parallel):
            parallel.check()
    return task_decorator_factory(
        cast("Any", parallel),  # which can be called
        multiple_outputs=False,  # TaskFlow would infer it from the annotation of one item's result
        decorated_operator_class=ParallelOperator,
        **parallel.task_options,
    )


def mapped_task(parallel: Parallel) -> Mapped:
    """Return what makes mapped tasks of a parallel task.

    Raises:
        NotPicklableError: The function, or something it refers to, can't reach a worker process.
    """
    return Mapped(airflow_task(parallel), parallel)


def make_task(parallel: Parallel, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> XComArg:
    """Make the task for one call while a DAG is being defined.

    Raises:
        TypeError: The arguments don't fit, or the items can't be taken one by one.
        NotPicklableError: The function, or something it refers to, can't reach a worker process.
    """
    given = parallel.given(args, kwargs)
    if parallel.item not in given:
        what = f"missing a required argument: {parallel.item!r}"
        raise parallel.signature.wrong(what, given)
    _check_literal(given[parallel.item], parallel, given)
    parallel.signature.check_pairs(given)
    task = airflow_task(parallel, given)
    try:
        return task(*args, **kwargs)  # type: ignore[no-any-return]
    except TypeError as error:
        if not str(error).startswith("missing a required argument"):
            raise
        raise parallel.signature.wrong(str(error), given) from None


def _check_literal(items: Any, parallel: Parallel, given: Collection[str]) -> None:
    if is_resolved_later(items):
        return
    hint = parallel.signature.hint(given)
    if isinstance(check_items(items, parallel.item, hint=hint), Iterator):
        msg = (
            f"The items for {parallel.item!r} can't be a {type(items).__name__} while a DAG is being defined: it is "
            f"gone after one use, and a task may run more than once. Pass a list, or return it from a task upstream."
            f"{hint}"
        )
        raise TypeError(msg)
    if not any(map(is_resolved_later, items)):
        check_items(items, parallel.item, over=parallel.over)


def _refuse_staying(parallel: Parallel, given: Collection[str]) -> None:
    culprits = [
        Culprit(f"{parallel.__name__} → parameter {name!r}", f"context[{name!r}]", _STAY, STAYING[name])
        for name in parallel.__signature__.parameters
        if name in STAYING and name not in given
    ]
    if culprits:
        raise NotPicklableError(culprits)
