"""What ``.run()`` returns: the results, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Run"]

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Run(Generic[Result_co]):
    """A fan-out that is over. A notebook draws it: a timeline of the workers, the slowest items and the failures.

    Attributes:
        results: What :meth:`ParallelTask.map` returns, in input order.
        failures: A record of each item that failed for good: ``index``, ``item``, ``error_type``, ``message`` and
            ``tries``.
        record: How the run went, in the form of the XCom ``fan_out``.
    """

    results: list[Result_co]
    failures: list[dict[str, Any]]
    record: Mapping[str, Any]

    def __repr__(self) -> str:
        (run,) = self.record["runs"]
        failed = f", {len(self.failures):,} failed" if self.failures else ""
        return f"<run of {run['function']}: {len(self.results):,} items{failed}, {run['backend']}[{run['workers']}]>"

    def _repr_html_(self) -> str:
        """Draw it, for a notebook."""
        from airflow_joblib.fan_out.record.picture import picture

        return picture(self.record["runs"][-1], len(self.failures))
