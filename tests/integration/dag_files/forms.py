"""Every form in which a parallel task can be written, each a task with a result to check."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task, task_group

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Sequence


@task.parallel
def by_name(number: int) -> int:
    """``@task.parallel`` without options."""
    return number + 1


@task.parallel(n_jobs=2)
def by_name_with_options(number: int, step: int = 1) -> int:
    """``@task.parallel`` with options."""
    return number + step


@task
@parallel_task(n_jobs=2)
def under_task(number: int, factor: int) -> int:
    """``@task`` above ``@parallel_task``."""
    return number * factor


@parallel_task(n_jobs=2)
@task(retries=3, task_id="over_task_renamed")
def over_task(number: int) -> int:
    """``@parallel_task`` above ``@task``: takes over its options."""
    return -number


@parallel_task
def as_dict(number: int) -> dict[str, int]:
    """The annotation of one item's result isn't that of the task's."""
    return {"number": number}


@parallel_task(over="number")
def second(step: int, number: int) -> int:
    """The item isn't the first parameter."""
    return step - number


@parallel_task
def with_context(
    number: int,
    run_id: str | None = None,
    params: dict[str, Any] | None = None,
    task_instance_key_str: str | None = None,
) -> dict[str, Any]:
    """Context parameters are filled in in the worker."""
    return {"number": number, "run_id": run_id, "params": dict(params or {}), "key": task_instance_key_str}


@parallel_task
def templated(number: int, label: str) -> str:
    """A shared argument with a template."""
    return f"{label}-{number}"


@parallel_task
def total(number: int, addends: Sequence[int]) -> int:
    """A shared argument that comes from upstream."""
    return number + sum(addends)


@parallel_task
def shifted(number: int, step: int) -> int:
    """For expand and expand_kwargs."""
    return number + step


@task
def one_more(number: int) -> int:
    """A mapped task upstream."""
    return number + 1


@task
def nothing() -> list[int]:
    """An empty list of items."""
    return []


@task
def inside_task() -> list[int]:
    """A call inside a running task runs there and then."""
    return shifted([1, 2, 3], step=5)


@task
def many() -> list[int]:
    """Items for the others."""
    return list(range(50))


@parallel_task
def where(_: int, folder: str) -> int:
    """The worker's process, once there are two."""
    meet(folder, 2)
    return os.getpid()


def meet(folder: str, workers: int) -> None:
    """Wait until so many workers have come here: on a busy machine one does all before another one has started."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 100
    while len([*Path(folder).iterdir()]) < workers and time.monotonic() < until:
        time.sleep(0.01)


@task_group
def group(numbers: Any) -> None:
    """A parallel task in a task group."""
    by_name(numbers)


@dag(schedule=None, params={"colour": "red"})
def forms() -> None:
    """All of them, a few at a time."""
    numbers = many()
    by_name(numbers)
    by_name_with_options(numbers, step=2)
    under_task(numbers, factor=3)
    over_task(numbers)
    as_dict([1, 2])
    second(10, [1, 2, 3])
    with_context([1, 2])
    templated([1, 2], label="{{ dag.dag_id }}")
    total([1, 2], addends=numbers)
    shifted.partial(step=1).expand(number=[[1, 2], [3]])
    shifted.override(task_id="shifted_kwargs").expand_kwargs([{"number": [1, 2], "step": 1}, {"number": [], "step": 2}])
    shifted.override(task_id="shifted_overridden", n_jobs=1)(numbers, step=100)
    by_name.override(task_id="after_mapped")(one_more.expand(number=[1, 2, 3]))
    by_name.override(task_id="of_nothing")(nothing())
    inside_task()
    where(numbers, folder="{{ dag_run.conf['folder'] }}")
    group(numbers)


forms()
