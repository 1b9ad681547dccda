"""The object that ``parallel_task`` makes of a function.

::

    thumbnail(paths)        ──► a DAG is being defined ──► taskflow: a task
                            └─► anywhere else ──► thumbnail.map(paths) ──► fan_out: a list
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from airflow_joblib.options import every_run
from airflow_joblib.options.backends import backend_named
from airflow_joblib.options.error_collector import report_decorated, split_options
from airflow_joblib.options.options import Defaults, Options
from airflow_joblib.signature import ItemSignature
from airflow_joblib.system.running_loop import AwaitableList, loop_runs
from airflow_joblib.taskflow import surroundings
from airflow_joblib.taskflow.airflow_internals import dag_is_being_defined, materialized
from airflow_joblib.wire.call import function_name

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterable, Mapping

    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.fan_out.record.outcome import Run
    from airflow_joblib.taskflow.dag.types import Upstream, XComArg
    from airflow_joblib.wire.call import Call

__all__ = ["ParallelTask"]

Item = TypeVar("Item")
Result_co = TypeVar("Result_co", covariant=True)
Params = ParamSpec("Params")

#: What others call a map over items of several parameters.
_OF_SEVERAL = frozenset(
    {"starmap", "star_map", "starmap_async", "map_star", "map_unordered", "zip", "zip_map", "map_zip"}
)
#: Stands for items that are not the first argument.
_BY_NAME: Any = object()


class ParallelTask(Generic[Item, Params, Result_co]):
    """A function of one item that is called with many.

    While a DAG is being defined a call makes a task; anywhere else it runs the fan-out and returns the results. Made by
    :func:`parallel_task`.

    Attributes:
        options: How it fans out.
        task_options: Options for the Airflow task: ``task_id``, ``retries``, ``pool`` and so on.
        __signature__: Signature of a call: the function's, without what workers fill in themselves.
    """

    __wrapped__: Callable[Concatenate[Item, Params], Result_co]
    __name__: str
    __signature__: inspect.Signature

    def __init__(
        self,
        function: Callable[Concatenate[Item, Params], Result_co],
        options: Options | None = None,
        task_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Check that *function* can handle items with these options.

        Raises:
            TypeError: The function is a generator function or takes no item.
            InvalidOptionError: ``over`` or ``per_worker`` names a parameter that the function does not have.
        """
        self.options = options or Options()
        self.task_options = dict(task_options or {})
        self._function = function
        self._signature = ItemSignature(function, self.options.over, self.options.per_worker)
        self._signature.check_concurrency(self.options.concurrency)
        shown: Any = function
        while isinstance(shown, functools.partial):  # whose own docstring is that of functools.partial
            shown = shown.func
        functools.update_wrapper(self, shown, assigned=("__module__", "__doc__", "__qualname__"), updated=())
        self.__wrapped__ = function
        self.__signature__ = self._signature.public
        self.__name__ = function_name(function)
        # Airflow reads the return annotation as that of the task, whose result is a list whatever an item's is.
        annotations = getattr(function, "__annotations__", {})
        self.__annotations__ = {name: kind for name, kind in annotations.items() if name != "return"}
        report_decorated(self)

    # Not an attribute of the instance: TaskFlow copies those onto an object of its own that has a *function*.
    @property
    def function(self) -> Callable[Concatenate[Item, Params], Result_co]:
        """The plain function of one item."""
        return self._function

    @property
    def item(self) -> str:
        """Name of the parameter of a call that takes the items."""
        return self._signature.item

    @property
    def signature(self) -> ItemSignature:
        """What a call takes, and how its arguments become those of one item."""
        return self._signature

    @property
    def over(self) -> tuple[str, ...]:
        """Names of the parameters that each item is spread over; none where one parameter takes it whole."""
        return self._signature.over

    @overload
    def __call__(self, items: Upstream, *args: Params.args, **kwargs: Params.kwargs) -> XComArg: ...

    @overload
    def __call__(self, items: Iterable[Item], *args: Params.args, **kwargs: Params.kwargs) -> list[Result_co]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a task while a DAG is being defined; anywhere else do what :meth:`map` does.

        Args:
            items: The items, or the task upstream that returns them.
            *args: Arguments that all items share.
            **kwargs: Arguments that all items share, by name.

        Returns:
            An ``XComArg`` while a DAG is being defined; anywhere else a list of the results, in input order.

        Raises:
            TypeError: An argument is missing, unknown or given twice, or the items can't be taken one by one.
            NotPicklableError: Something can't reach a worker process. Nothing has run, but for items of a lazy iterator
                that were drawn before; or a result can't be sent back.
            WorkerLostError: A worker process ended before it gave back its items.
            Exception: The first item's failure, of its own type, with a note that names the item.
        """
        if dag_is_being_defined():
            from airflow_joblib.taskflow.dag.task import make_task

            return make_task(self, args, kwargs)
        return self._map(args, kwargs)

    def map(self, items: Iterable[Item] = _BY_NAME, /, *args: Params.args, **kwargs: Params.kwargs) -> list[Result_co]:
        """Run the fan-out here and now, whatever the context, and return the results in input order.

        Args:
            items: One item for each call of the function. Like any argument they may be given by name instead.
            *args: Arguments that all items share.
            **kwargs: Arguments that all items share, by name.

        Raises:
            TypeError: An argument is missing, unknown or given twice, or the items can't be taken one by one.
            NotPicklableError: Something can't reach a worker process. Nothing has run, but for items of a lazy iterator
                that were drawn before; or a result can't be sent back.
            WorkerLostError: A worker process ended before it gave back its items.
            Exception: The first item's failure, of its own type, with a note that names the item.
        """
        return self._map(args if items is _BY_NAME else (items, *args), kwargs)

    def run(self, items: Iterable[Item] = _BY_NAME, /, *args: Params.args, **kwargs: Params.kwargs) -> Run[Result_co]:
        """Do what :meth:`map` does, and return the results with what can be seen of the run. A notebook draws that.

        Args:
            items: One item for each call of the function. Like any argument they may be given by name instead.
            *args: Arguments that all items share.
            **kwargs: Arguments that all items share, by name.

        Raises:
            Exception: What :meth:`map` raises.
        """
        from airflow_joblib.fan_out.run import recorded_fan_out

        return recorded_fan_out(*self._bound(args if items is _BY_NAME else (items, *args), kwargs))

    def _map(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Result_co]:
        from airflow_joblib.fan_out.run import fan_out

        results = fan_out(*self._bound(args, kwargs))
        return AwaitableList(results) if self._signature.asynchronous and loop_runs() else results

    def _bound(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Call, Iterable[Any], Options, Defaults, Host]:
        """Return what a run here and now is made of."""
        from airflow_joblib.fan_out.input_checks import check_items

        host = surroundings.host()
        kwargs = host.completed(self.__signature__, functools.partial(self.given, args, kwargs), kwargs)
        items, call = self._signature.bind(args, kwargs)
        items = check_items(materialized(items), self.item, hint=self._signature.hint(), over=self.over)
        return call, items, every_run.in_force(self.options), surroundings.defaults(), host

    def fork_early(self) -> None:
        """Fork what workers can come from if no fork is safe any more once a task's arguments are loaded."""
        from airflow_joblib.fan_out import run  # noqa: F401 - what it imports, each worker has
        from airflow_joblib.pools import early, forked  # noqa: F401

        early.fork_early(self.__name__, self.options, surroundings.defaults, lambda: surroundings.host().before_fork())

    def partial(self, **kwargs: Any) -> Any:
        """Fix arguments that all mapped instances share; ``.expand()`` of what it returns makes the mapped task.

        Raises:
            NotPicklableError: The function, or something it refers to, can't reach a worker process.
        """
        from airflow_joblib.taskflow.dag.task import mapped_task

        return mapped_task(self).partial(**kwargs)

    def expand(self, **kwargs: Any) -> XComArg:
        """Make a mapped task: every instance takes one list of items for the item's parameter and fans out inside.

        Raises:
            NotPicklableError: The function, or something it refers to, can't reach a worker process.
            TypeError: What is given for the items of an instance is no list of items.
        """
        from airflow_joblib.taskflow.dag.task import mapped_task

        return mapped_task(self).expand(**kwargs)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Make a mapped task from one mapping of arguments for each instance, a list of items among them.

        Raises:
            NotPicklableError: The function, or something it refers to, can't reach a worker process.
            TypeError: What is given for the items of an instance is no list of items.
        """
        from airflow_joblib.taskflow.dag.task import mapped_task

        return mapped_task(self).expand_kwargs(kwargs, strict=strict)

    def override(self, **options: Any) -> Self:
        """Return the same task with other options, the decorator's own or Airflow's.

        Raises:
            InvalidOptionError: An option has a value it can't have, or is misspelt.
        """
        own, others = split_options(options)
        return type(self)(self.function, replace(self.options, **own), {**self.task_options, **others})

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by the parameter that takes them; some may be missing.

        Raises:
            TypeError: An argument is unknown or given twice.
        """
        return self._signature.given(args, kwargs)

    def uses_processes(self) -> bool:
        """Return whether its workers are processes, so that everything has to be pickled."""
        return backend_named(self.options.backend or surroundings.defaults().backend).processes

    def check(self) -> None:
        """Check that the function, with everything it refers to, can reach a worker process.

        Raises:
            NotPicklableError: It can't; the error names every culprit.
        """
        from airflow_joblib.pickling import check_function

        check_function(self.function, self.options.per_worker, self.options.item_retry_on)

    def __getattr__(self, name: str) -> Any:
        """Say where to find what other libraries have for items of several parameters.

        Raises:
            AttributeError: There is no such attribute.
        """
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name in _OF_SEVERAL and "_signature" in vars(self):
            msg += f". Use .map(items) for items of several parameters as well.{self._signature.hint()}"
        raise AttributeError(msg)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind a decorated method to its object, as the function itself would be; a partial, say, doesn't bind."""
        bind = getattr(type(self.function), "__get__", None)
        bound = self.function if bind is None else bind(self.function, instance, owner)
        return self if bound is self.function else type(self)(bound, self.options, self.task_options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made from; without a label and options of the task that would keep it from a worker."""
        from airflow_joblib.pickling.pickler import optional

        label = {} if self.options.label is None else {"label": self.options.label}
        sent = optional({**label, **self.task_options})
        own = replace(self.options, label=sent.pop("label", None))
        return type(self), (self.function, own, sent)

    def __copy__(self) -> Self:
        """Return another of the same function and options, all of them."""
        return type(self)(self.function, self.options, self.task_options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return another of copies of what it was made from; the options never change."""
        return type(self)(copy.deepcopy(self.function, memo), self.options, copy.deepcopy(self.task_options, memo))

    def __repr__(self) -> str:
        return f"<parallel task {self.__name__}{self._signature.public}>"
