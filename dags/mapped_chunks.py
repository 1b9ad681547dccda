"""Mapped chunks: one task instance for each chunk, and each fans its own chunk out.

Shows ``split``, TaskFlow's ``partial`` and ``expand`` on a parallel task, and ``join``: for work to be spread over
several machines, each of which should use all its processors. An instance takes one chunk for ``number`` and handles
its numbers in parallel.
"""

from __future__ import annotations

from airflow.sdk import dag, task

from airflow_joblib import join, parallel_task, split


@task
def list_numbers(upto: int) -> list[int]:
    """The numbers from 1."""
    return list(range(1, upto + 1))


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
def find_longest(steps: list[int]) -> dict[str, int]:
    """The number that takes the most steps."""
    longest = max(range(len(steps)), key=steps.__getitem__)
    return {"numbers": len(steps), "longest_from": longest + 1, "longest": steps[longest]}


@dag(schedule=None, tags=["airflow-joblib", "example"], doc_md=__doc__)
def mapped_chunks() -> None:
    """Cut, fan out each piece, join."""
    chunks = split(list_numbers(1000), into=4)
    steps = collatz_steps.partial(limit=1000).expand(number=chunks)
    find_longest(join(steps))


mapped_chunks()
