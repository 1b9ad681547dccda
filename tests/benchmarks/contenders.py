"""Ours and its peers, each a context manager that gives a function of (function, items) which returns the results."""

from __future__ import annotations

import asyncio
import functools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    Run = Callable[[Callable[..., Any], Iterable[Any]], list[Any]]
    Pool = Callable[[int], AbstractContextManager[Run]]

#: Environment variable that names the backend of ours where its workers are processes.
BACKEND = "BENCHMARK_BACKEND"

__all__ = [
    "BACKEND",
    "NotHereError",
    "aiometer_loop",
    "executor",
    "joblib_pool",
    "mpire_pool",
    "multiprocessing_pool",
    "ours",
    "plain",
    "plain_coroutines",
    "semaphore_loop",
    "threads",
]


class NotHereError(Exception):
    """A case that can't be measured here; the message says why."""


@contextmanager
def plain(_jobs: int) -> Iterator[Run]:
    """Run a loop."""
    yield lambda function, items: [function(item) for item in items]


@contextmanager
def ours(jobs: int, backend: str | None = None, **options: Any) -> Iterator[Run]:
    """Fan out with airflow-joblib, which starts and ends its workers in each call."""
    from airflow_joblib import parallel_task

    chosen = backend or os.environ.get(BACKEND, "auto")

    def run(function: Any, items: Iterable[Any]) -> Any:
        shared: dict[str, Any] = {}
        if isinstance(function, functools.partial) and not function.args:  # made for pools that know nothing shared
            function, shared = function.func, function.keywords
        return parallel_task(n_jobs=jobs, backend=chosen, **options)(function).map(items, **shared)

    yield run


@contextmanager
def joblib_pool(jobs: int, backend: str = "loky") -> Iterator[Run]:
    """Use raw joblib, with batches of its own making."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=jobs, backend=backend) as parallel:
        yield lambda function, items: parallel(delayed(function)(item) for item in items)


@contextmanager
def executor(jobs: int, chunks: int = 16) -> Iterator[Run]:
    """Use ``ProcessPoolExecutor.map``, with the items cut into so many chunks."""
    from concurrent.futures import ProcessPoolExecutor

    def run(function: Callable[..., Any], items: Any) -> list[Any]:
        return list(pool.map(function, items, chunksize=max(1, len(items) // chunks)))

    with ProcessPoolExecutor(jobs) as pool:
        yield run


@contextmanager
def multiprocessing_pool(jobs: int) -> Iterator[Run]:
    """Use ``multiprocessing.Pool.map``, with chunks of its own making."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield pool.map


@contextmanager
def mpire_pool(jobs: int) -> Iterator[Run]:
    """Use mpire, with chunks of its own making."""
    try:
        from mpire.pool import WorkerPool
    except ImportError:
        raise NotHereError("mpire is not installed: it comes with the extra bench") from None
    with WorkerPool(jobs, start_method="fork", keep_alive=True) as pool:
        yield pool.map


@contextmanager
def threads(jobs: int) -> Iterator[Run]:
    """Use ``ThreadPoolExecutor.map``."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(jobs) as pool:
        yield lambda function, items: list(pool.map(function, items))


@contextmanager
def plain_coroutines(_jobs: int, concurrency: int) -> Iterator[Run]:
    """Run so many loops on one event loop, which share the items: nobody could do less, and results have no order."""

    async def gathered(function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        todo = iter(items)

        async def take() -> list[Any]:
            return [await function(item) for item in todo]

        found = await asyncio.gather(*(take() for _ in range(concurrency)))
        return [result for results in found for result in results]

    yield lambda function, items: asyncio.run(gathered(function, items))


@contextmanager
def semaphore_loop(_jobs: int, concurrency: int) -> Iterator[Run]:
    """Use one event loop with a task of asyncio for each item, and a semaphore."""

    async def gathered(function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        semaphore = asyncio.Semaphore(concurrency)

        async def limited(item: Any) -> Any:
            async with semaphore:
                return await function(item)

        return await asyncio.gather(*map(limited, items))

    yield lambda function, items: asyncio.run(gathered(function, items))


@contextmanager
def aiometer_loop(_jobs: int, concurrency: int) -> Iterator[Run]:
    """Use aiometer on one event loop."""
    try:
        import aiometer
    except ImportError:
        raise NotHereError("aiometer is not installed: it comes with the extra bench") from None

    async def run(function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        calls = [functools.partial(function, item) for item in items]
        return await aiometer.run_all(calls, max_at_once=concurrency)

    yield lambda function, items: asyncio.run(run(function, items))
