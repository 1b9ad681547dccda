"""Generators of random numbers that items share are named, since they repeat in worker processes."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from airflow_joblib.fan_out.shared_generators import shared_generators
from tests.unit.helpers import LOCAL, PROCESSES, task

if TYPE_CHECKING:
    from collections.abc import Callable

GENERATOR = np.random.default_rng(1)


class Model:
    def __init__(self) -> None:
        self.state = {"rng": np.random.RandomState(1)}

    def draw(self, _: int) -> float:
        return float(self.state["rng"].random())


def from_global(_: int) -> float:
    return float(GENERATOR.random())


def through_helper(item: int) -> float:
    return from_global(item)


def from_default(_: int, python: random.Random = random.Random(1)) -> float:  # noqa: B008
    return python.random()


def from_argument(_: int, rng: Any) -> float:
    return float(rng.random())


def own(item: int) -> float:
    return random.Random(item).random() + random.random() + random.SystemRandom().random()


@pytest.mark.parametrize(
    ("function", "arguments", "paths"),
    [
        (from_global, {}, ["global 'GENERATOR'"]),
        (through_helper, {}, ["global 'from_global' → global 'GENERATOR'"]),
        (from_default, {}, ["default 'python'"]),
        (Model().draw, {}, ["self → .state → ['rng']"]),
        (functools.partial(from_argument, rng=random.Random(1)), {}, ["rng"]),
        (from_argument, {"rng": [GENERATOR]}, ["argument 'rng' → [0]"]),
        (own, {"source": random.SystemRandom()}, []),
    ],
)
def test_paths(function: Callable[..., float], arguments: dict[str, Any], paths: list[str]) -> None:
    """Each is found by its path; what draws from no state of its own, or is made in the item, is none."""
    assert shared_generators(function, arguments) == paths


@pytest.mark.parametrize("backend", LOCAL)
def test_warning(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    """Worker processes that have a copy each are warned of, threads that share the one generator are not."""
    shared = random.Random(1)
    task(lambda _: shared.random(), backend=backend)(range(4))
    assert ("closure 'shared' is a generator of random numbers" in caplog.text) == (backend in PROCESSES)
    assert ("numpy.random.SeedSequence(seed).spawn(n)" in caplog.text) == (backend in PROCESSES)


def test_large_arguments_cost_nothing() -> None:
    """Of a container no more is looked at than of all else together: only what is found soon is named."""
    many: list[Any] = [{"n": n} for n in range(10_000)]
    assert shared_generators(own, {"many": [GENERATOR, *many]}) == ["argument 'many' → [0]"]
    assert shared_generators(own, {"many": [*many, GENERATOR]}) == []
