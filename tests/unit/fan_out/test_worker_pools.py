"""The workers of a run: how many work, and what each of them is given, once."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.unit.helpers import ONE_WORKER, PROCESSES, PROCESSES_BY_DAY, eventually, note, notes, run_python, task

if TYPE_CHECKING:
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)


class TestWorkers:
    """As many as were asked for."""

    @processes_by_day
    def test_number_of_processes(self, backend: str, tmp_path: Path) -> None:
        """As many processes work as were asked for, none of them this one."""
        seen = tmp_path / "seen"

        def wait_for_another(item: int) -> int:
            note(seen, os.getpid())
            eventually(lambda: len(set(notes(seen))) == 2, 30)
            return os.getpid()

        pids = set(task(wait_for_another, backend=backend, batch_size=1)(range(6)))
        assert len(pids) == 2
        assert os.getpid() not in pids

    def test_number_of_threads(self) -> None:
        """As many threads work as were asked for."""
        barrier = threading.Barrier(3)

        def meet(item: int) -> int:
            barrier.wait(30)
            return threading.get_ident()

        assert len(set(task(meet, backend="threading", n_jobs=3, batch_size=1)(range(6)))) == 3

    @processes
    def test_daemonic_process(self, backend: str) -> None:
        """A process marked as daemonic, as a task under Celery is, gets its workers, and leaves none."""
        code = """
import logging, multiprocessing, os, sys, warnings
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="BACKEND")
def f(item): return os.getpid()
def main():
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
    print(os.getpid() in f([1, 2, 3]), multiprocessing.current_process().daemon, flush=True)
process = multiprocessing.get_context("fork").Process(target=main, daemon=True)
process.start(); process.join()
"""
        said = run_python(code.replace("BACKEND", backend)).stdout.splitlines()
        assert [line for line in said if "a plain loop" not in line] == ["False True"]


class Counted:
    """Notes every time it is pickled, and every time it is unpickled."""

    def __init__(self, path: Path, name: object = "") -> None:
        self.path = path
        self.name = name

    def __getstate__(self) -> dict[str, Any]:
        note(self.path, f"dumped {self.name}")
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        note(self.path, f"loaded {self.name} {os.getpid()}")


class TestSentOnce:
    """What is pickled, how often."""

    @processes
    def test_function_reaches_a_worker_once(self, backend: str, tmp_path: Path) -> None:
        """The function, with all it refers to, is loaded once in each worker, whatever the number of chunks."""
        path, seen = tmp_path / "counted", tmp_path / "seen"
        model, shared = Counted(path, "model"), Counted(path, "shared")

        def work(item: int, other: Counted) -> int:
            note(seen, os.getpid())
            eventually(lambda: len(set(notes(seen))) == 2, 30)
            assert model.name == "model"
            return os.getpid()

        pids = set(task(work, backend=backend, batch_size=1)(range(30), shared))
        for name in ("model", "shared"):
            loads = [line for line in notes(path) if line.startswith(f"loaded {name}")]
            elsewhere = sorted(line.split()[2] for line in loads if line.split()[2] != str(os.getpid()))
            assert elsewhere == ([] if backend == "multiprocessing" else sorted(map(str, pids)))  # which is a fork
            assert notes(path).count(f"dumped {name}") == 1

    @pytest.mark.parametrize(("budget", "times"), [("256", 1), ("0", 2)])
    def test_items_are_pickled_once(
        self, budget: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The check's pickles are the ones sent; beyond the memory budget items are pickled again when they are due.

        Forked workers have them, so the check is all that pickles.
        """
        monkeypatch.setenv("AIRFLOW__JOBLIB__MEMORY_BUDGET", budget)
        path = tmp_path / "counted"
        items = [Counted(path, number) for number in range(20)]
        for backend, expected in {"loky": times, "multiprocessing": 1}.items():
            path.write_text("")
            assert task(lambda item: item.name, backend=backend, **ONE_WORKER)(items) == list(range(20))
            dumped = [line for line in notes(path) if line.startswith("dumped")]
            assert sorted(dumped) == sorted(f"dumped {number}" for number in range(20) for _ in range(expected))

    def test_lazy_items_are_pickled_once(self, tmp_path: Path) -> None:
        """Items of an iterator, too, are pickled once."""
        path = tmp_path / "counted"
        items = (Counted(path, number) for number in range(100))
        assert task(lambda item: item.name, backend="multiprocessing")(items) == list(range(100))
        assert sum(line.startswith("dumped") for line in notes(path)) == 100


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    left: Point
    right: Point


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class OwnError(Exception):
    pass


def build(item: Any) -> Any:
    assert type(item) is Point
    if item.x < 0:
        raise OwnError(item.x)
    return Pair(item, Point(item.x + 1)), Colour.RED, Slotted(item.x), {Point: Colour}


class TestOwnClasses:
    """Classes of the caller's module are one and the same on both sides."""

    @processes
    def test_same_class(self, backend: str) -> None:
        """Results are of the very classes that the caller has, and so is an item's exception."""
        work = task(build, backend=backend, **ONE_WORKER)
        for pair, colour, slotted, mapping in work([Point(1), Point(2), Point(3)]):
            assert type(pair) is Pair
            assert type(pair.left) is type(pair.right) is Point
            assert pair.left == Point(pair.right.x - 1)
            assert colour is Colour.RED
            assert type(slotted) is Slotted
            assert mapping == {Point: Colour}
        with pytest.raises(OwnError):
            work([Point(1), Point(-1), Point(2)])

    def test_class_met_late(self) -> None:
        """A class that only a late item of an iterator has comes back as itself, too."""

        class Late:
            pass

        items = (Late() if number >= 100 else number for number in range(200))
        results = task(lambda item: item, backend="multiprocessing")(items)
        assert {type(result) for result in results[100:]} == {Late}

    def test_class_of_the_function_alone(self) -> None:
        """A class that no item has but the function makes is the caller's when it comes back."""

        def make(item: int) -> Point:
            return Point(item)

        results = task(make, backend="multiprocessing")([1, 2, 3])
        assert results == [Point(1), Point(2), Point(3)]
        assert all(type(result) is Point for result in results)


def helper(item: int) -> int:
    return item + OFFSET


OFFSET = 10


def uses_helpers(item: int) -> int:
    return helper(item)


@processes
def test_helpers_travel(backend: str) -> None:
    """Helper functions and constants of the caller's module travel by value: a change made here holds there."""
    global OFFSET
    OFFSET = 20
    try:
        assert task(uses_helpers, backend=backend, **ONE_WORKER)([1, 2, 3]) == [21, 22, 23]
    finally:
        OFFSET = 10
