"""Who does each kind of work: for every scenario its cases, at full size or at that of a smoke run."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.benchmarks import clock, contenders, guarantees, shared, stream
from tests.benchmarks.shared import CONSTANT, TABLE
from tests.benchmarks.work import async_sleep, busy, no_op, sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.clock import Sample
    from tests.benchmarks.contenders import Pool

JOBS = 2
OURS = "ours"
FRESH = "ours on loky"


@dataclass(frozen=True)
class Case:
    """One contender at one kind of work.

    Attributes:
        name: The contender.
        run: Measures it, in an interpreter that does nothing else, and returns samples: figures by name.
        variant: What sets it apart from other cases of that contender, the best of which counts.
    """

    name: str
    run: Callable[[], list[Sample]]
    variant: str = ""


def _peers(run: Callable[..., list[Sample]], *arguments: Any, executors: Sequence[int] = (2, 16, 128)) -> list[Case]:
    """Return a case for each peer whose workers are processes, with the executor's best number of chunks."""
    pools: list[tuple[str, Pool, str]] = [
        ("plain loop", contenders.plain, ""),
        ("joblib loky", contenders.joblib_pool, ""),
        ("joblib multiprocessing", functools.partial(contenders.joblib_pool, backend="multiprocessing"), ""),
        *(
            ("ProcessPoolExecutor", functools.partial(contenders.executor, chunks=chunks), f"{chunks} chunks")
            for chunks in executors
        ),
        ("multiprocessing.Pool", contenders.multiprocessing_pool, ""),
        ("mpire", contenders.mpire_pool, ""),
    ]
    return [Case(name, functools.partial(run, pool, *arguments), variant) for name, pool, variant in pools]


def _warm(function: Callable[..., Any], items: Sequence[Any], repeats: int = 1) -> list[Case]:
    ours = Case(OURS, functools.partial(clock.warm_ours, function, items, JOBS, repeats))
    return [ours, *_peers(clock.warm, function, items, JOBS, repeats)]


def no_op_cases(quick: bool) -> list[Case]:
    return _warm(no_op, range(200 if quick else 100_000), repeats=1 if quick else 3)


def busy_cases(quick: bool) -> list[Case]:
    return _warm(busy, [0.001] * (20 if quick else 4000))


def skewed_cases(quick: bool) -> list[Case]:
    count = 100 if quick else 2000
    return _warm(busy, [0.001] * (count - count // 100) + [0.1] * (count // 100))


def sleeping_cases(quick: bool) -> list[Case]:
    items, jobs = ([0.001] if quick else [0.05]) * 200, 20
    pools: list[tuple[str, Pool]] = [
        (OURS, functools.partial(contenders.ours, backend="threading")),
        ("joblib threading", functools.partial(contenders.joblib_pool, backend="threading")),
        ("ThreadPoolExecutor", contenders.threads),
    ]
    return [Case(name, functools.partial(clock.warm, pool, sleep, items, jobs)) for name, pool in pools]


def async_cases(quick: bool) -> list[Case]:
    items, concurrency = ([0.001] * 200, 10) if quick else ([0.01] * 100_000, 1000)
    pools: list[tuple[str, Callable[..., Any], int]] = [
        (OURS, contenders.ours, 1),
        (f"{OURS}, two processes", contenders.ours, 2),
        ("plain loop", contenders.plain_coroutines, 1),
        ("asyncio.Semaphore", contenders.semaphore_loop, 1),
        ("aiometer", contenders.aiometer_loop, 1),
    ]
    return [
        Case(
            name,
            functools.partial(clock.warm, functools.partial(pool, concurrency=concurrency), async_sleep, items, jobs),
        )
        for name, pool, jobs in pools
    ]


def _of_few(measure: Callable[..., list[Sample]], size: int, items: Sequence[int], share: int) -> Case:
    """Measure joblib, which sends what is shared with each item, with one of so many items, and multiply."""
    few = items[: len(items) // share or 2]
    times = len(items) // len(few)
    name = f"joblib loky, {len(few)} items, times {times}"
    return Case(name, functools.partial(measure, contenders.joblib_pool, size, few, JOBS, times=times))


def constant_cases(quick: bool) -> list[Case]:
    size, items = (100, range(20)) if quick else (CONSTANT, range(5000))
    run = functools.partial
    return [
        Case(OURS, run(shared.constant, contenders.ours, size, items, JOBS)),
        Case("ours without the constant", run(shared.constant, contenders.ours, 1, items, JOBS)),
        Case("one send per worker", run(shared.send_constant, size, JOBS)),
        _of_few(shared.constant, size, items, 50),
    ]


def array_cases(quick: bool) -> list[Case]:
    megabytes, items, jobs = (8, range(20), 2) if quick else (200, range(1000), 4)
    run = functools.partial
    return [
        Case(OURS, run(shared.array, contenders.ours, megabytes, items, jobs)),
        Case("ours without the array", run(shared.array, contenders.ours, megabytes, items, jobs, given=False)),
        Case("joblib loky", run(shared.array, contenders.joblib_pool, megabytes, items, jobs)),
        Case(
            "joblib loky without the array",
            run(shared.array, contenders.joblib_pool, megabytes, items, jobs, given=False),
        ),
    ]


def dict_cases(quick: bool) -> list[Case]:
    size, items = (100, range(20)) if quick else (TABLE, range(200))
    run = functools.partial
    return [
        Case(OURS, run(shared.table, contenders.ours, size, items, JOBS)),
        Case("ours without the dict", run(shared.table, contenders.ours, 1, items, JOBS)),
        Case("one pickle, one copy, two loads", run(shared.pickle_copy_two_loads, size)),
        _of_few(shared.table, size, items, 20),
        Case("multiprocessing.Pool", run(shared.table, contenders.multiprocessing_pool, size, items, JOBS)),
    ]


def generator_cases(quick: bool) -> list[Case]:
    pools: list[tuple[str, Pool]] = [
        (OURS, contenders.ours),
        ("plain loop", contenders.plain),
        ("joblib loky", contenders.joblib_pool),
        ("multiprocessing.Pool", contenders.multiprocessing_pool),
    ]
    count = 200 if quick else 1_000_000
    return [Case(name, functools.partial(stream.from_generator, pool, count, JOBS)) for name, pool in pools]


def consumer_cases(quick: bool) -> list[Case]:
    return [Case(OURS, functools.partial(stream.slow_consumer, 40 if quick else 1000, 5, JOBS))]


def checkpoint_cases(quick: bool) -> list[Case]:
    items = [0.001 + number * 1e-9 for number in range(20 if quick else 10_000)]  # no two alike
    return [
        Case(name, functools.partial(guarantees.keeping, items, JOBS, kept=kept))
        for name, kept in ((OURS, True), ("ours without a checkpoint", False))
    ]


def record_cases(quick: bool) -> list[Case]:
    items = [0.001] * (20 if quick else 10_000)
    return [
        Case(name, functools.partial(guarantees.recording, items, JOBS, shown=shown))
        for name, shown in ((OURS, True), ("ours without a record", False))
    ]


def resume_cases(quick: bool) -> list[Case]:
    return [Case(OURS, functools.partial(guarantees.resuming, 200 if quick else 100_000, JOBS))]


def fail_fast_cases(quick: bool) -> list[Case]:
    count, seconds = (20, 0.1) if quick else (1000, 1.0)
    return [Case(OURS, functools.partial(guarantees.fail_fast, count, seconds, JOBS))]


def cold_cases(_quick: bool) -> list[Case]:
    ours = Case(OURS, functools.partial(clock.cold, contenders.ours, range(2), JOBS))
    return [ours, *_peers(clock.cold, range(2), JOBS, executors=(2,))]


def repeated_cases(quick: bool) -> list[Case]:
    repeats = 2 if quick else 20
    ours = Case(OURS, functools.partial(clock.warm, contenders.ours, no_op, range(2), JOBS, repeats))
    return [ours, *_peers(clock.warm, no_op, range(2), JOBS, repeats, executors=(2,))]


def inherited_cases(quick: bool) -> list[Case]:
    megabytes, entries = (1, 100) if quick else (384, 1_000_000)
    return _of_both(shared.frame_and_table, megabytes, entries, JOBS)


def frames_cases(quick: bool) -> list[Case]:
    return _of_both(shared.frames, 4 if quick else 100, 1 if quick else 6, JOBS)


def _of_both(run: Callable[..., list[Sample]], *arguments: Any) -> list[Case]:
    """Return ours, and those whose workers are fresh and have to be sent all of it."""
    pools: list[tuple[str, Pool]] = [
        (OURS, contenders.ours),
        (FRESH, functools.partial(contenders.ours, backend="loky")),
        ("joblib loky", contenders.joblib_pool),
    ]
    return [Case(name, functools.partial(run, pool, *arguments)) for name, pool in pools]


def growth_cases(quick: bool) -> list[Case]:
    return [case for count in GROWTH for case in _growth_to(max(count // 1000, 8) if quick else count, count)]


GROWTH = (10_000, 100_000, 1_000_000)


def _growth_to(items: int, count: int) -> list[Case]:
    repeats = 1 if items < GROWTH[0] else max(1, min(10, 300_000 // items))
    pools = {"joblib loky": contenders.joblib_pool, "multiprocessing.Pool": contenders.multiprocessing_pool}
    run = functools.partial
    return [
        Case(f"{OURS}, {count:,}", run(_per_item, clock.warm_ours, no_op, range(items), JOBS, repeats)),
        *(
            Case(f"{name}, {count:,}", run(_per_item, clock.warm, pool, no_op, range(items), JOBS, repeats))
            for name, pool in pools.items()
        ),
    ]


def _per_item(run: Callable[..., list[Sample]], *arguments: Any) -> list[Sample]:
    items = next(len(argument) for argument in arguments if isinstance(argument, range))
    return [
        sample | {f"µs an item, {name}": s / items * 1e6 for name, s in sample.items()} for sample in run(*arguments)
    ]
