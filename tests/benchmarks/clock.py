"""How long a case takes: with workers that are there already, as a whole, or in a fresh interpreter."""

from __future__ import annotations

import resource
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from tests.benchmarks.contenders import ours
from tests.benchmarks.work import all_there, busy, no_op, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.benchmarks.contenders import Pool

    Sample = dict[str, float]

__all__ = ["cold", "own_cpu", "timed", "warm", "warm_ours"]


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return the seconds that a call took, and what it returned."""
    began = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - began, result


def own_cpu(function: Callable[..., Any], results: Sequence[Any], jobs: int) -> Sample:
    """Return the ideal where it can be read off the results: the items' own CPU time over the number of CPUs."""
    return {"ideal": sum(results) / jobs} if function is busy else {}


def warm(pool: Pool, function: Callable[..., Any], items: Sequence[Any], jobs: int, repeats: int = 1) -> list[Sample]:
    """Time calls of a pool whose workers are there."""
    with pool(jobs) as run:
        with all_there(jobs):
            run(function, items[: 4 * jobs])
        samples = []
        for _ in range(repeats):
            seconds, results = timed(run, function, items)
            samples.append({"seconds": seconds, **own_cpu(function, results, jobs)})
    return samples


def warm_ours(function: Callable[..., Any], items: Sequence[Any], jobs: int, repeats: int = 1) -> list[Sample]:
    """Time ours as a whole, and without the start and the end of its workers, in two ways.

    ``ready``: without the time in which workers start, up to the moment when the last of them has got its first item,
    and that in which they end; of a call of its own, in which the workers wait for each other. ``less 2``: less what a
    call with 2 no-op items takes just before. Neither is what a user waits for, which is ``seconds``.
    """
    with ours(jobs) as run:
        run(no_op, [0, 1])
        samples = []
        for _ in range(repeats):
            two, _ = timed(run, no_op, [0, 1])
            seconds, results = timed(run, function, items)
            sample = {"seconds": seconds, "less 2": seconds - two, **own_cpu(function, results, jobs)}
            samples.append(sample | _ready(run, function, items, jobs))
    return samples


def _ready(run: Callable[..., Any], function: Callable[..., Any], items: Sequence[Any], jobs: int) -> Sample:
    with _phases() as phases, all_there(jobs) as complete:
        seconds, _ = timed(run, function, items)
        around = phases.around(complete())
    return {} if around is None else {"ready": seconds - around}


@dataclass
class _Phases:
    """When a pool of ours began to start, and when and for how long it ended."""

    began: float = 0.0
    ending: float = 0.0

    def around(self, complete: float | None) -> float | None:
        """Return the seconds of start and end; None where no pool was seen or not every worker got an item."""
        return complete - self.began + self.ending if self.began and complete is not None else None


@contextmanager
def _phases() -> Iterator[_Phases]:
    """Watch the next pool of ours from outside."""
    from airflow_joblib.pools.base import Pool

    phases, enter, leave = _Phases(), Pool.__enter__, Pool.__exit__

    def entering(self: Any) -> Any:
        phases.began = time.perf_counter()
        return enter(self)

    def leaving(self: Any, *error: Any) -> Any:
        phases.ending, result = timed(leave, self, *error)
        return result

    Pool.__enter__, Pool.__exit__ = entering, leaving  # type: ignore[method-assign]
    try:
        yield phases
    finally:
        Pool.__enter__, Pool.__exit__ = enter, leave  # type: ignore[method-assign]


def cold(pool: Pool, items: Iterable[int], jobs: int) -> list[Sample]:
    """Time a first call in this interpreter, imports included: to the first item's start, and to the end of the pool.

    ``CPU`` is what all processes have used by then, those that stay included.
    """
    began, used = time.perf_counter(), _cpu()
    with pool(jobs) as run:
        results = run(started, items)
    seconds = time.perf_counter() - began
    return [{"first item": min(results) - began, "seconds": seconds, "CPU": _cpu() - used}]


def _cpu() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = time.process_time() + ended.ru_utime + ended.ru_stime  # finer than what the process table has
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ends just now
            used += sum(process.cpu_times()[:2])
    return used
