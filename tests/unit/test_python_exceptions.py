"""Exceptions that mean something to Python, raised by an item, a resource or the input, on each local backend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, note, notes, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError)


@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
@pytest.mark.parametrize("kind", KINDS)
def test_raised_by_an_item(kind: type[BaseException], backend: str, tmp_path: Path) -> None:
    """It leaves the fan-out as it was raised, no item ran twice, and no worker is left."""
    at = 7_000

    def work(item: int) -> int:
        if item == at:
            note(tmp_path / "ran", item)
            raise kind
        return item

    with pytest.raises(kind):
        task(work, backend=backend)(range(10_000))
    assert notes(tmp_path / "ran") == [str(at)]
    assert not worker_processes()


@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
def test_stop_iteration_is_tolerated(backend: str) -> None:
    """StopIteration is an item's failure like any other: it is tried again, and tolerated."""

    def work(item: int) -> Any:
        return next(iter(())) if item % 1000 == 500 else item

    results = task(work, backend=backend, max_failures=0.5, item_retries=1)(range(5000))
    assert results == [None if item % 1000 == 500 else item for item in range(5000)]


@pytest.mark.slow
@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
@pytest.mark.parametrize("kind", KINDS)
def test_raised_by_a_resource(kind: type[BaseException], backend: str) -> None:
    """What the set-up of a ``per_worker`` resource raises ends the run as it was raised, and is not tried again."""

    def resource() -> object:
        raise kind

    with pytest.raises(kind):
        task(lambda item, it: item, backend=backend, per_worker={"it": resource}, item_retries=2)(range(4))
    assert not worker_processes()


class Endless:
    """Items that raise where a generator could not."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.given = 0

    def __iter__(self) -> Endless:
        return self

    def __next__(self) -> int:
        if self.given == 50:
            raise self.kind
        self.given += 1
        return self.given


@pytest.mark.slow
@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
@pytest.mark.parametrize("kind", [*KINDS[2:], LookupError])
def test_raised_by_a_lazy_input(kind: type[BaseException], backend: str) -> None:
    """What a lazy input raises while items run ends the run as it was raised, and no worker is left."""
    with pytest.raises(kind):
        task(abs, backend=backend)(Endless(kind))
    assert not worker_processes()


@pytest.mark.parametrize("backend", LOCAL)
def test_lazy_input_that_stops(backend: str) -> None:
    """StopIteration of an iterator is its end; out of a generator Python makes it a RuntimeError."""
    assert task(abs, backend=backend)(Endless(StopIteration)) == list(range(1, 51))

    def items() -> Iterator[int]:
        yield from range(50)
        yield next(iter(()))

    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        task(abs, backend=backend)(items())
