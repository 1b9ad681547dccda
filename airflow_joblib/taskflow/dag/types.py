"""Types that stand between the decorator and Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk import XComArg

if TYPE_CHECKING:
    import inspect
    from collections.abc import Collection, Mapping

__all__ = ["Parallel", "Upstream", "XComArg"]

#: What stands for items while a DAG is being defined.
Upstream = XComArg


class Signature(Protocol):
    """What a call takes: :class:`~airflow_joblib.signature.ItemSignature`, seen from here."""

    def wrong(self, what: str, given: Collection[str] = ()) -> TypeError:
        """Return the error of a call whose arguments don't fit."""
        ...

    def hint(self, given: Collection[str] = ()) -> str:
        """Return the sentence about ``over`` for a call that may be meant so."""
        ...

    def check_pairs(self, given: Mapping[str, Any]) -> None:
        """Refuse two lists that are to be gone through together."""


class Parallel(Protocol):
    """What a task is made from: the :class:`~airflow_joblib.ParallelTask`, seen from here.

    Attributes:
        task_options: Options for the Airflow task.
        __signature__: Signature of a call.
    """

    __name__: str
    task_options: dict[str, Any]
    __signature__: inspect.Signature

    @property
    def item(self) -> str:
        """Name of the parameter that takes the item."""
        ...

    @property
    def over(self) -> tuple[str, ...]:
        """Names of the parameters that each item is spread over."""
        ...

    @property
    def signature(self) -> Signature:
        """What a call takes."""
        ...

    def given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by parameter."""
        ...

    def uses_processes(self) -> bool:
        """Return whether its workers are processes."""
        ...

    def check(self) -> None:
        """Check that the function can reach a worker process."""
        ...

    def fork_early(self) -> None:
        """Fork what its workers can come from if no fork is safe any more once the arguments are loaded."""
        ...

    def map(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Run the fan-out."""
        ...
