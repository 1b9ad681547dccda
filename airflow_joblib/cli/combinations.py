"""Options that are right each by itself, and together hold less than they promise: AJ301."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_joblib.options.backends import backend_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_joblib.cli.findings import Place
    from airflow_joblib.cli.positions import Positions

__all__ = ["combinations"]


def combinations(parallel: Any, line: int, positions: Positions) -> Iterator[tuple[Place, str]]:
    """Yield each combination of a parallel task's options that holds less than it promises, with its place.

    Args:
        parallel: The parallel task.
        line: Line in which its function begins.
        positions: The places in the file.
    """
    for option, message in (*_limits(parallel), *_retries(parallel), *_workers(parallel, line, positions)):
        place = positions.of_decorator(line, option)
        if place is not None:  # else it comes from elsewhere, as by override()
            yield place, message


def _limits(parallel: Any) -> Iterator[tuple[str, str]]:
    limit = parallel.options.item_timeout
    if limit is None:
        return
    name = parallel.options.backend
    backend = backend_named(name) if name else None
    if backend is not None and (backend.threads or backend.cluster):
        where = "in threads" if backend.threads else f"on {name}"
        yield (
            "item_timeout",
            (
                f"item_timeout ends Python code alone {where}: a call into C or the operating system goes on until it "
                "returns. Use a backend of processes of this machine, or give that call a timeout of its own."
            ),
        )
    whole = parallel.task_options.get("execution_timeout")
    if isinstance(whole, timedelta) and whole.total_seconds() <= limit:
        yield (
            "item_timeout",
            (
                f"item_timeout ({limit:g} s) is never reached: execution_timeout ends the whole task after "
                f"{whole.total_seconds():g} s. Give an item less time than the task."
            ),
        )


def _retries(parallel: Any) -> Iterator[tuple[str, str]]:
    options = parallel.options
    if options.item_retry_on != (Exception,) and not options.item_retries:
        yield (
            "item_retry_on",
            "item_retry_on has no effect with item_retries=0, which tries no item again. Set item_retries, or drop it.",
        )


def _workers(parallel: Any, line: int, positions: Positions) -> Iterator[tuple[str, str]]:
    n_jobs = positions.literal(line, "n_jobs")
    if not isinstance(n_jobs, int) or n_jobs < 2:  # noqa: PLR2004 - one worker, or as many as there are CPUs
        return
    name = parallel.options.backend
    if name and backend_named(name).one:
        yield (
            "n_jobs",
            f"n_jobs={n_jobs} has no effect with backend={name!r}, which runs items one after another. Leave one out.",
        )
        return
    slots = positions.literal(line, "pool_slots")
    if isinstance(slots, int) and 0 < slots < n_jobs:
        yield (
            "pool_slots",
            (
                f"The task takes {slots} of its pool's slots and runs {n_jobs} workers, so the pool holds back less "
                f"than it seems to. Give it pool_slots={n_jobs}, or n_jobs={slots}."
            ),
        )
