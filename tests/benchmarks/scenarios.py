"""What is measured: one record for each kind of work, with who does it and what has to hold.

A target's value is computed from medians, ``m["joblib loky"]["seconds"]``, and met where it is at most the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks import cases
from tests.benchmarks.cases import FRESH, JOBS, OURS, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Medians = Mapping[str, Mapping[str, float]]

__all__ = ["SCENARIOS", "Scenario", "Target"]


@dataclass(frozen=True)
class Target:
    """What has to hold: *value* of the medians is at most *limit*; None where it is only reported."""

    text: str
    limit: float | None
    value: Callable[[Medians], float]


@dataclass(frozen=True)
class Scenario:
    """One kind of work.

    Attributes:
        name: What ``ONLY=`` selects.
        title: The work in words.
        cases: Makes the cases; takes whether sizes shall be those of a smoke run.
        targets: What has to hold.
        ideal: Seconds in the best of worlds, from the medians, where the samples don't say it themselves.
        rounds: How often each case is measured.
        shown: The figure that the plot shows.
    """

    name: str
    title: str
    cases: Callable[[bool], list[Case]]
    targets: Sequence[Target]
    ideal: Callable[[Medians], float] | None = None
    rounds: int = 5
    shown: Sequence[str] = field(default=("seconds",))


def _fastest(m: Medians, figure: str = "seconds") -> float:
    """Return the best figure of a peer that works in parallel."""
    return min(figures[figure] for name, figures in m.items() if not name.startswith(OURS) and name != "plain loop")


_PER_ITEM = "µs an item, ready"
_FORKED = Target("ours / ours on loky", 0.15, lambda m: m[OURS]["seconds"] / m[FRESH]["seconds"])

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "no_op",
        "100,000 no-op items, warm",
        cases.no_op_cases,
        [
            Target("ours / joblib loky", 0.1, lambda m: m[OURS]["seconds"] / m["joblib loky"]["seconds"]),
            Target("ours, ready / joblib loky", 0.1, lambda m: m[OURS]["ready"] / m["joblib loky"]["seconds"]),
            Target(
                "ours, ready / multiprocessing.Pool",
                2.5,
                lambda m: m[OURS]["ready"] / m["multiprocessing.Pool"]["seconds"],
            ),
        ],
        ideal=lambda m: m["plain loop"]["seconds"] / JOBS,
        shown=("seconds", "ready"),
    ),
    Scenario(
        "busy",
        "4,000 items of 1 ms CPU",
        cases.busy_cases,
        [
            Target("ours, ready / ideal", 1.03, lambda m: m[OURS]["ready"] / m[OURS]["ideal"]),
            Target("ours, ready / fastest peer", 1.02, lambda m: m[OURS]["ready"] / _fastest(m)),
            Target("ours / fastest peer", 1.05, lambda m: m[OURS]["seconds"] / _fastest(m)),
        ],
        shown=("seconds", "ready"),
    ),
    Scenario(
        "skewed",
        "2,000 items, 1 in 100 takes 100 ms, the rest 1 ms, the slow ones at the end",
        cases.skewed_cases,
        [
            Target("ours, ready / ideal", 1.10, lambda m: m[OURS]["ready"] / m[OURS]["ideal"]),
            Target("ours / ideal", 1.15, lambda m: m[OURS]["seconds"] / m[OURS]["ideal"]),
        ],
        shown=("seconds", "ready"),
    ),
    Scenario(
        "sleeping",
        "200 items of 50 ms sleep, threading, 20 jobs",
        cases.sleeping_cases,
        [Target("ours / 0.5 s", 1.10, lambda m: m[OURS]["seconds"] / 0.5)],
        ideal=lambda _: 0.5,
    ),
    Scenario(
        "async",
        "100,000 asynchronous items that sleep 10 ms, 1,000 at a time on one event loop",
        cases.async_cases,
        [
            Target("ours / 1 s", 1.3, lambda m: m[OURS]["seconds"]),
            Target("ours / faster peer", 1.2, lambda m: m[OURS]["seconds"] / _fastest(m)),
            Target("ours / bare loops", None, lambda m: m[OURS]["seconds"] / m["plain loop"]["seconds"]),
            Target("ours, two processes / 1 s", None, lambda m: m[f"{OURS}, two processes"]["seconds"]),
        ],
        ideal=lambda _: 1.0,
    ),
    Scenario(
        "constant",
        "a 20 MB constant in the DAG file, 5,000 small items",
        cases.constant_cases,
        [
            Target(
                "ours / (without the constant + one send per worker)",
                1.1,
                lambda m: (
                    m[OURS]["seconds"]
                    / (m["ours without the constant"]["seconds"] + m["one send per worker"]["seconds"])
                ),
            )
        ],
    ),
    Scenario(
        "array",
        "one shared 200 MB NumPy array, 4 workers, 1,000 items",
        cases.array_cases,
        [
            Target(
                "extra memory of all processes, in arrays",
                1.2,
                lambda m: (m[OURS]["extra MB"] - m["ours without the array"]["extra MB"]) / 200,
            ),
            Target(
                "(ours - 1 s) / without the array",
                1.1,
                lambda m: (m[OURS]["seconds"] - 1) / m["ours without the array"]["seconds"],
            ),
        ],
        rounds=3,
    ),
    Scenario(
        "dict",
        "one shared 100 MB dict of small objects, 2 workers, 200 items",
        cases.dict_cases,
        [
            Target(
                "(ours - without the dict) / (one pickle, one copy, two loads)",
                1.2,
                lambda m: (
                    (m[OURS]["seconds"] - m["ours without the dict"]["seconds"])
                    / m["one pickle, one copy, two loads"]["seconds"]
                ),
            )
        ],
        rounds=3,
    ),
    Scenario(
        "generator",
        "1,000,000 integers from a generator",
        cases.generator_cases,
        [Target("MB of the parent above the results", 250, lambda m: m[OURS]["MB above the results"])],
        rounds=3,
        shown=("MB above the results",),
    ),
    Scenario(
        "slow_consumer",
        "items made faster than a slow checkpoint stores them",
        cases.consumer_cases,
        # 8 MiB that are written, 8 MiB that wait, and two chunks of 0.5 MB under way for each worker.
        [Target("chunks ahead", 40, lambda m: m[OURS]["chunks ahead"])],
        rounds=3,
        shown=("chunks ahead",),
    ),
    Scenario(
        "checkpoint",
        "10,000 items of 1 ms CPU, with a checkpoint on this machine",
        cases.checkpoint_cases,
        [
            Target(
                "ours / without a checkpoint",
                1.05,
                lambda m: m[OURS]["seconds"] / m["ours without a checkpoint"]["seconds"],
            )
        ],
        rounds=7,
    ),
    Scenario(
        "record",
        "10,000 items of 1 ms CPU, with a record that takes 20 ms to write",
        cases.record_cases,
        [
            Target(
                "ours / without a record",
                1.02,
                lambda m: m[OURS]["seconds"] / m["ours without a record"]["seconds"],
            )
        ],
        rounds=7,
    ),
    Scenario(
        "resume",
        "a run of 100,000 items that an earlier try has finished, and of 10 more",
        cases.resume_cases,
        [Target("seconds to the start of the first new item", 3.0, lambda m: m[OURS]["first new item"])],
        shown=("first new item", "seconds"),
    ),
    Scenario(
        "fail_fast",
        "1,000 items of 1 s, of which the third fails",
        cases.fail_fast_cases,
        [
            Target("seconds from the failure to the end", 2.0, lambda m: m[OURS]["after the failure"]),
            Target("items begun after the failure", 0.0, lambda m: m[OURS]["begun after it"]),
        ],
        shown=("after the failure",),
    ),
    Scenario(
        "cold",
        "cold start, 2 items",
        cases.cold_cases,
        [
            Target("first item, ours / joblib", 1.1, lambda m: m[OURS]["first item"] / m["joblib loky"]["first item"]),
            Target("whole call, ours / joblib", 0.4, lambda m: m[OURS]["seconds"] / m["joblib loky"]["seconds"]),
        ],
        rounds=9,
        shown=("first item", "seconds", "CPU"),
    ),
    Scenario(
        "repeated",
        "a repeated call of 2 no-op items",
        cases.repeated_cases,
        [Target("ours / joblib loky", 3, lambda m: m[OURS]["seconds"] / m["joblib loky"]["seconds"])],
    ),
    Scenario(
        "inherited",
        "a frame of 384 MB and a dict of a million entries, shared, 2 workers",
        cases.inherited_cases,
        [_FORKED],
    ),
    Scenario("frames", "100 frames of 6 MB as items, 2 workers", cases.frames_cases, [_FORKED]),
    Scenario(
        "growth",
        "time per item from 10,000 to 1,000,000 no-op items",
        cases.growth_cases,
        [
            Target(
                "an item of 1,000,000 / an item of 10,000",
                1.2,
                lambda m: m[f"{OURS}, 1,000,000"][_PER_ITEM] / m[f"{OURS}, 10,000"][_PER_ITEM],
            )
        ],
        shown=("µs an item, seconds", _PER_ITEM),
    ),
)
