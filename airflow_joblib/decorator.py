"""``parallel_task``, which makes a function of one item one that is called with many."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from airflow_joblib.options.error_collector import split_options
from airflow_joblib.options.options import Options
from airflow_joblib.parallel import ParallelTask

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import timedelta

__all__ = ["parallel_task"]

Item = TypeVar("Item")
Result_co = TypeVar("Result_co", covariant=True)
Params = ParamSpec("Params")


if TYPE_CHECKING:
    from typing import Protocol

    class _Decorating(Protocol):
        @overload
        def __call__(
            self, function: Callable[Concatenate[Item, Params], Coroutine[Any, Any, Result_co]], /
        ) -> ParallelTask[Item, Params, Result_co]: ...

        @overload
        def __call__(
            self, function: Callable[Concatenate[Item, Params], Result_co], /
        ) -> ParallelTask[Item, Params, Result_co]: ...

    class _DecoratingAny(Protocol):
        @overload
        def __call__(
            self, function: Callable[..., Coroutine[Any, Any, Result_co]], /
        ) -> ParallelTask[Any, ..., Result_co]: ...

        @overload
        def __call__(self, function: Callable[..., Result_co], /) -> ParallelTask[Any, ..., Result_co]: ...


# An asynchronous function first: to a type checker it is also one that returns a coroutine.
@overload
def parallel_task(
    function: Callable[Concatenate[Item, Params], Coroutine[Any, Any, Result_co]], /
) -> ParallelTask[Item, Params, Result_co]: ...


@overload
def parallel_task(
    function: Callable[Concatenate[Item, Params], Result_co], /
) -> ParallelTask[Item, Params, Result_co]: ...


# With these two a call takes other parameters than the function, beyond any type: its arguments stay unchecked.
@overload
def parallel_task(*, over: str | tuple[str, ...], **options: Any) -> _DecoratingAny: ...


@overload
def parallel_task(*, per_worker: Mapping[str, Callable[..., Any]], **options: Any) -> _DecoratingAny: ...


@overload
def parallel_task(
    *,
    n_jobs: int | None = None,
    backend: str | None = None,
    backend_options: Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    item_retries: int = 0,
    item_retry_delay: float | timedelta = 1.0,
    item_retry_on: type[Exception] | tuple[type[Exception], ...] = Exception,
    item_timeout: float | timedelta | None = None,
    max_failures: float = 0,
    fail_fast: bool = True,
    checkpoint: bool | str | os.PathLike[str] = False,
    rate_limit: float | str | None = None,
    label: Callable[[Any], str] | None = None,
    concurrency: int | None = None,
    **task_options: Any,
) -> _Decorating: ...


def parallel_task(function: Any = None, /, **options: Any) -> Any:
    """Decorate the function that handles one item, so that it can be called with many.

    Args:
        function: The function, when the decorator is used without parentheses.
        n_jobs: Workers, joblib's meaning: -1 for every CPU this process may use (affinity and cgroup limits counted),
            -2 for all but one. Default: ``[joblib] n_jobs``, else -1.
        backend: ``"auto"``: workers forked from this process where that is safe, else fresh ones, as the log explains;
            ``"multiprocessing"`` for forked ones and ``"loky"`` for fresh ones in any case; ``"threading"``,
            ``"sequential"``, a cluster's ``"dask"``, ``"ray"`` or ``"spark"``, or any name registered with joblib.
            Default: ``[joblib] backend``, else ``"auto"``.
        backend_options: Mapping handed to ``joblib.parallel_config``, as ``{"inner_max_num_threads": 1}``. For a
            cluster: where it is, as ``{"address": "tls://host:8786"}`` or ``{"conn_id": "dask_default"}``; without
            either a local one is started for the run.
        over: Name of the parameter that takes the item. Default: the first one. With a tuple of names, as
            ``("record_id", "value")``, each item is a tuple, a list or a row of that length, or a mapping with these
            keys, and is spread over those parameters; in a call the items stand in the place of the first of them, or
            are given by the name ``items``.
        batch_size: Items per dispatch, or ``"auto"``: large chunks first, single items at the end.
        per_worker: Mapping of parameter name to a function that returns a context manager or a plain value, entered
            once per worker and left when the run ends, after a failed item too and then without its exception: what
            commits should do so in each item. That function may take shared arguments, by name.
        item_retries: Tries after the first for one item. ``AirflowFailException`` is not tried again.
        item_retry_delay: Seconds, or a timedelta, before an item's first retry; each further one waits twice as long,
            and up to *item_retry_delay* more at random.
        item_retry_on: Exception type, or tuple of types, that is worth another try. Default: ``Exception``. Whatever it
            is, an item that raises ``FailItem`` is not tried again, and one that raises ``RetryItem(after=...)`` is.
        item_timeout: Seconds, or a timedelta, that one try of one item may take. With threads it ends Python code only.
        max_failures: Items that may fail for good before the task fails: a count, or a fraction below 1. Their results
            are None. Default: the first failure ends the run.
        fail_fast: Whether the run ends with the failure that is one too many. False: every item runs first, then the
            task fails with a summary of all that failed. ``AirflowFailException`` ends the run in any case.
        checkpoint: True, or where: finished items are kept, and a retried or cleared task runs only the others.
        rate_limit: Items that may start in a span of time, over all workers of the run, each retry counted: a number a
            second, or a text such as ``"10/s"``, ``"100/min"``, ``"5000/h"``. Default: any number.
        label: Function of the item that returns a short text, which names it in logs, notes and failures. It runs in
            the task's process, for items that are shown. Default: the item's ``repr``, cut short.
        concurrency: Items of an ``async def`` that one worker runs at the same time on its event loop. Default: 32. A
            plain function takes none: its items run one at a time in each worker.
        **options: As above, and options of the Airflow task as for ``@task``: ``task_id``, ``retries``, ``pool``...

    Returns:
        A :class:`ParallelTask`, or without a function a decorator that makes one.

    Raises:
        InvalidOptionError: An option has a value it can't have, or is misspelt.
        TypeError: What is decorated can't handle one item: it is a generator function, a class, or has no parameter
            for the item.
    """
    own, task_options = split_options(options)
    decorate = functools.partial(_decorate, options=Options(**own), task_options=task_options)
    return decorate if function is None else decorate(function)


def _decorate(function: Any, options: Options, task_options: Mapping[str, Any]) -> ParallelTask[Any, ..., Any]:
    if isinstance(function, ParallelTask):
        msg = f"{function.__name__} is a parallel task already. Use .override(...) to change its options."
        raise TypeError(msg)
    if isinstance(getattr(function, "__dict__", {}).get("operator_class"), type):  # what @task and its kin return
        function, task_options = _taken_over(function, task_options)
    if isinstance(function, classmethod):
        msg = "@parallel_task can't decorate a class method: nothing would pass the class. Use a static method."
        raise TypeError(msg)
    if not callable(function) or isinstance(function, type):
        msg = f"@parallel_task decorates a function that handles one item, not {_described(function)}."
        raise TypeError(msg)
    return ParallelTask(function, options, task_options)


def _taken_over(task: Any, task_options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Take the function and the options of a ``@task`` that was decorated."""
    kind = getattr(task.operator_class, "custom_operator_name", task.operator_class.__name__)
    if kind != "@task":
        msg = (
            f"@parallel_task can't stand above {kind}, which runs its function elsewhere. Put it above a plain @task "
            "or above the function itself."
        )
        raise TypeError(msg)
    if isinstance(task.function, ParallelTask):
        msg = f"{task.function.__name__} is a parallel task already. Drop one of the two @parallel_task."
        raise TypeError(msg)
    if given := sorted({"op_args", "op_kwargs"} & task.kwargs.keys()):
        msg = f"The @task has its arguments already ({given[0]}). Give them to the parallel task: .partial(...)."
        raise TypeError(msg)
    return task.function, {**task.kwargs, **task_options}


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
