"""Mapped chunks: one task instance for each chunk, and each fans its own chunk out.

Shows TaskFlow's ``partial`` and ``expand`` on a parallel task: for work to be spread over several machines, each of
which should use all its processors. An instance takes one chunk for ``number`` and handles its numbers in parallel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNK = 250


@task
def make_chunks(upto: int) -> list[list[int]]:
    """The numbers from 1, in chunks."""
    return [list(range(first, min(first + CHUNK, upto + 1))) for first in range(1, upto + 1, CHUNK)]


@parallel_task
def collatz_steps(number: int, limit: int) -> int:
    """How many times to halve, or triple and add one, until *number* becomes 1."""
    for step in range(limit):
        if number == 1:
            return step
        number = number // 2 if number % 2 == 0 else 3 * number + 1
    message = f"More than {limit} steps."
    raise ValueError(message)


@task
def flatten(chunks: Iterable[list[int]]) -> dict[str, Any]:
    """Join the chunks' results, which come in the order of the chunks."""
    steps = [step for chunk in chunks for step in chunk]
    longest = max(range(len(steps)), key=steps.__getitem__)
    return {"numbers": len(steps), "longest_from": longest + 1, "longest": steps[longest], "steps": steps}


@dag(schedule=None, tags=["airflow-joblib", "example"], doc_md=__doc__)
def mapped_chunks() -> None:
    """Cut, fan out each piece, join."""
    flatten(collatz_steps.partial(limit=1000).expand(number=make_chunks(1000)))


mapped_chunks()
