"""The run itself: results in order on every backend, failures that say which item, and nothing run in vain."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import sqlite3
import threading
import time
import traceback
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_joblib import NotPicklableError, ParallelTaskError, WorkerLostError, parallel_task
from airflow_joblib.fan_out import run as fan_out_run
from airflow_joblib.pools import loky, threads
from tests.unit.helpers import LOCAL, PROCESSES, eventually, note, notes, run_python, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
local = pytest.mark.parametrize("backend", LOCAL)
CHEAP = ("multiprocessing", "threading", "sequential")


def task(function: Callable[..., Any], **options: Any) -> Any:
    return parallel_task(**{"n_jobs": 2, **options})(function)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="airflow_joblib")
    return caplog


def square_or_repeat(item: Any) -> Any:
    return item * 2


class Once:
    """Can't be pickled the first time."""

    tries = 0

    def __reduce__(self) -> tuple[Any, ...]:
        self.tries += 1
        if self.tries == 1:
            raise LookupError
        return int, (2,)


def repeat(item: int, times: Any) -> Any:
    return item * times


values = st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers()) | st.binary()
sizes: Any = st.just("auto") | st.integers(1, 7)


class TestResults:
    """A list in input order."""

    @settings(max_examples=40)
    @given(
        items=st.lists(values, max_size=30),
        backend=st.sampled_from(CHEAP),
        n_jobs=st.integers(1, 4) | st.just(-1),
        batch_size=sizes,
        lazy=st.booleans(),
    )
    def test_equals_a_loop(self, items: list[Any], backend: str, n_jobs: int, batch_size: Any, lazy: bool) -> None:
        """For any list, backend, number of workers and batch size the result is that of a loop."""
        fanned = task(square_or_repeat, backend=backend, n_jobs=n_jobs, batch_size=batch_size)
        assert fanned(iter(items) if lazy else items) == [square_or_repeat(item) for item in items]

    @settings(max_examples=3)
    @given(items=st.lists(values, min_size=2, max_size=30), n_jobs=st.integers(2, 3), batch_size=sizes)
    def test_equals_a_loop_on_loky(self, items: list[Any], n_jobs: int, batch_size: Any) -> None:
        """The same on loky, with fewer examples, since each starts its workers anew."""
        fanned = task(square_or_repeat, backend="loky", n_jobs=n_jobs, batch_size=batch_size)
        assert fanned(items) == [square_or_repeat(item) for item in items]

    @local
    def test_order(self, backend: str) -> None:
        """Results are in input order though items finish out of it."""

        def late_first(item: int) -> int:
            time.sleep(0.1 if item == 0 else random.random() / 500)
            return item

        assert task(late_first, backend=backend, batch_size=1)(range(40)) == list(range(40))

    @pytest.mark.parametrize("backend", CHEAP)
    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            ([1, 2], [2, 4]),
            ((1, 2), [2, 4]),
            ({3}, [6]),
            (range(3), [0, 2, 4]),
            ({"a": 1, "b": 2}.keys(), ["aa", "bb"]),
            ({"a": 1, "b": 2}.values(), [2, 4]),
            ({"a": 1}.items(), [("a", 1, "a", 1)]),
            (pd.Series([1, 2], index=["x", "y"]), [2, 4]),
            (np.arange(3), [0, 2, 4]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_kinds_of_items(self, items: Any, expected: list[Any], backend: str) -> None:
        """Whatever can be iterated can be items, an iterator over it too."""
        assert task(square_or_repeat, backend=backend)(items) == expected
        assert task(square_or_repeat, backend=backend)(iter(items)) == expected
        assert task(square_or_repeat, backend=backend)(item for item in items) == expected

    @pytest.mark.parametrize("backend", CHEAP)
    def test_rows_of_an_array(self, backend: str) -> None:
        """The items of a two-dimensional array are its rows."""
        assert task(np.sum, over="a", backend=backend)(np.array([[1, 2], [3, 4]])) == [3, 7]

    def test_array_without_dimension(self) -> None:
        """What claims to be iterable and isn't is NumPy's own TypeError."""
        with pytest.raises(TypeError, match="0-d array"):
            task(square_or_repeat)(np.array(3))

    def test_arrays_can_be_written_to(self) -> None:
        """A large array reaches a worker as an array of its own, no read-only memory map."""

        def add_in_place(item: Any) -> float:
            item += 1
            return float(item.sum())

        for backend in PROCESSES:
            assert task(add_in_place, backend=backend)([np.zeros(1 << 18), np.zeros(1 << 18)]) == [1 << 18] * 2

    def test_many(self) -> None:
        """A hundred thousand items are no matter."""
        assert task(square_or_repeat, backend="multiprocessing")(range(100_000)) == list(range(0, 200_000, 2))


class TestEmptyAndOne:
    """No worker starts in vain."""

    @pytest.mark.parametrize(
        "items",
        [[], (), set(), range(0), {}.keys(), {}.values(), np.array([]), np.empty((0, 3)), pd.Series([]), iter([]), ""],
        ids=lambda items: type(items).__name__,
    )
    def test_empty(self, items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """No items give no results, and start no worker; an empty string is still a string."""
        monkeypatch.setattr(loky, "LokyPool", None)
        monkeypatch.setattr(threads, "ThreadPool", None)
        for backend in LOCAL:
            if isinstance(items, str):
                with pytest.raises(TypeError, match="can't be a str"):
                    task(square_or_repeat, backend=backend)(items)
            else:
                assert task(square_or_repeat, backend=backend)(items) == []

    @local
    def test_one(self, backend: str, log: pytest.LogCaptureFixture) -> None:
        """One item runs in this process and this thread."""

        def where(item: object) -> tuple[int, int]:
            return os.getpid(), threading.get_ident()

        assert task(where, backend=backend)(["x"]) == [(os.getpid(), threading.get_ident())]

    def test_process_table(self) -> None:
        """The process table of a fresh interpreter shows no child after no item or one, not even loky's tracker."""
        code = """
import psutil
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky")
def f(item): return item
print(f([]), f(iter([])), f(range(0)), f([1]), psutil.Process().children())
"""
        assert run_python(code).stdout.split("\n")[0] == "[] [] [] [1] []"


class TestWorkers:
    """As many workers as asked for, never more than items, and a word where there are fewer."""

    @processes
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

    def test_never_more_than_items(self, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
        """There are never more workers than items, and the log says so where a number was asked for."""
        started: list[int] = []
        pool = loky.LokyPool

        def counted(payload: Any, n_jobs: int, options: Any) -> Any:
            started.append(n_jobs)
            return pool(payload, n_jobs, options)

        monkeypatch.setattr(loky, "LokyPool", counted)
        assert task(square_or_repeat, backend="loky", n_jobs=50)([1, 2]) == [2, 4]
        assert started == [2]
        assert log.messages[0] == "square_or_repeat runs on 2 workers instead of 50: there are only 2 items."

    @pytest.mark.parametrize(("n_jobs", "expected"), [(-1, 4), (-2, 3), (-4, 1), (-9, 1), (1, 1), (3, 3), (9, 9)])
    def test_counts(self, n_jobs: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A negative number counts back from the CPUs that this process may use, and leaves at least one."""
        from airflow_joblib.fan_out.host import Host
        from airflow_joblib.options.options import Defaults

        monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
        for backend in ("loky", "multiprocessing", "threading"):
            made = task(square_or_repeat, n_jobs=n_jobs, backend=backend)
            _, call = made._signature.bind(([1],), {})
            assert fan_out_run._Run(call, made.options, Defaults(), Host()).worker_count.asked() == expected

    def test_all_cpus(self, log: pytest.LogCaptureFixture) -> None:
        """Asking for every CPU and having fewer items is worth no warning."""
        assert task(square_or_repeat, backend="threading", n_jobs=-1)([1, 2]) == [2, 4]
        assert log.messages == []

    @pytest.mark.parametrize("inner", ["loky", "threading"])
    def test_nested_in_threads(self, inner: str, log: pytest.LogCaptureFixture) -> None:
        """A fan-out inside an item runs in that item's worker, one item after another, and the log says so."""

        def where(item: int) -> tuple[int, int]:
            return os.getpid(), threading.get_ident()

        def outer(item: int) -> bool:
            return task(where, backend=inner)(range(3)) == [(os.getpid(), threading.get_ident())] * 3  # type: ignore[no-any-return]

        assert task(outer, backend="threading")(range(8)) == [True] * 8
        expected = (
            "where runs on 1 worker instead of 2: an item of another fan-out called it, whose workers use the CPUs "
            "already."
        )
        assert 1 <= log.messages.count(expected) <= 2  # once a worker, not once an item

    @processes
    def test_nested_in_processes(self, backend: str) -> None:
        """The same in a worker process."""

        def where(item: int) -> int:
            return os.getpid()

        def outer(item: int) -> bool:
            return task(where, backend=backend)(range(3)) == [os.getpid()] * 3  # type: ignore[no-any-return]

        assert task(outer, backend=backend)(range(3)) == [True] * 3

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

    def test_callers_in_threads(self) -> None:
        """Runs that threads of one process make at the same time don't disturb each other."""
        results: dict[int, list[int]] = {}

        def run(number: int) -> None:
            results[number] = task(square_or_repeat, backend=("multiprocessing", "threading")[number % 2])(range(50))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == {key: list(range(0, 100, 2)) for key in range(4)}


class TestLazyItems:
    """An iterator of unknown length is drawn as its items are needed."""

    def test_not_drawn_far_ahead(self) -> None:
        """No more items are drawn than the workers have in hand and before them."""
        finished: list[int] = []
        ahead: list[int] = []

        def source() -> Iterator[int]:
            for number in range(3000):
                ahead.append(number - len(finished))
                yield number

        def work(item: int) -> int:
            finished.append(item)
            return item

        assert task(work, backend="threading", batch_size=5)(source()) == list(range(3000))
        assert max(ahead) <= 64 + 2 * 2 * 5 + 2 * 5  # what is looked at first, what is under way, what is being counted

    @pytest.mark.parametrize("backend", CHEAP)
    def test_endless(self, backend: str) -> None:
        """An endless iterator ends with the first failure."""

        def fail_later(item: int) -> int:
            if item == 500:
                raise LookupError(item)
            return item

        with pytest.raises(LookupError) as caught:
            task(fail_later, backend=backend, batch_size=10)(itertools.count())
        assert "item 500 " in caught.value.__notes__[0]

    @pytest.mark.parametrize("backend", CHEAP)
    def test_iterator_that_fails(self, backend: str) -> None:
        """What the iterator itself raises leaves the run as it is, with no item's note."""

        def source() -> Iterator[int]:
            yield from range(200)
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError, match="gone") as caught:
            task(square_or_repeat, backend=backend)(source())
        assert not hasattr(caught.value, "__notes__")

    def test_culprit_late_in_the_iterator(self) -> None:
        """An item that can't travel is found when it is drawn, and named by its position."""
        items = (threading.Lock() if number == 300 else number for number in itertools.count())
        with pytest.raises(NotPicklableError) as caught:
            task(square_or_repeat, backend="multiprocessing")(items)
        assert caught.value.path.startswith("item 300")


class TestCheckedUpFront:
    """Nothing runs when something can't travel."""

    def test_call_that_fails_only_as_a_whole(self) -> None:
        """Where every part of the call can be pickled, and not all of it, nothing runs and the call is named."""
        with pytest.raises(
            NotPicklableError, match=r"the call of repeat .* Pickling it has raised LookupError"
        ) as caught:
            task(repeat, backend="loky")(range(4), times=Once())
        assert len(caught.value.culprits) == 1

    @processes
    def test_nothing_ran(self, backend: str, tmp_path: Path) -> None:
        """One item among many that can't travel: the error names it, and no item has run, no resource was opened."""
        ran = tmp_path / "ran"

        def work(item: object, conn: object) -> None:
            note(ran)

        def connect() -> None:
            note(ran)

        items: list[object] = [*range(50), {"a": [threading.Lock()]}, *range(50)]
        with pytest.raises(NotPicklableError) as caught:
            task(work, backend=backend, per_worker={"conn": connect})(items)
        assert caught.value.path.startswith("item 50")
        assert caught.value.culprit_type == "_thread.lock"
        assert notes(ran) == []
        assert worker_processes() == []

    def test_every_culprit(self) -> None:
        """Function, shared arguments and items are checked in one go."""
        lock = threading.Lock()

        def work(item: object, shared: object) -> object:
            return lock

        with pytest.raises(NotPicklableError) as caught:
            task(work, backend="multiprocessing")([1, threading.Lock()], shared=threading.Lock())
        paths = [culprit.path for culprit in caught.value.culprits]
        assert len(paths) == 3
        assert "closure 'lock'" in paths[0]
        assert "shared" in paths[1]
        assert paths[2].startswith("item 1")

    @pytest.mark.parametrize("backend", ["threading", "sequential"])
    def test_threads_need_no_check(self, backend: str) -> None:
        """What stays in the process may be anything."""
        lock = threading.Lock()
        assert task(lambda item, other: (item, other, lock), backend=backend)([lock] * 3, lock) == [(lock,) * 3] * 3


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
            assert task(lambda item: item.name, backend=backend)(items) == list(range(20))
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
        for pair, colour, slotted, mapping in task(build, backend=backend)([Point(1), Point(2), Point(3)]):
            assert type(pair) is Pair
            assert type(pair.left) is type(pair.right) is Point
            assert pair.left == Point(pair.right.x - 1)
            assert colour is Colour.RED
            assert type(slotted) is Slotted
            assert mapping == {Point: Colour}
        with pytest.raises(OwnError):
            task(build, backend=backend)([Point(1), Point(-1), Point(2)])

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


class CannotTravel(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def refuse() -> None:
    raise RuntimeError("not here")


class CannotLoad(Exception):
    def __reduce__(self) -> Any:
        return refuse, ()


def die(how: str) -> Any:
    if how == "exception that can't travel":
        raise CannotTravel("locked")
    if how == "exception that can't load":
        raise CannotLoad("twice")
    if how == "exception of two arguments":
        raise TwoArguments(404, "not found")
    if how == "result that can't travel":
        return {"a": [threading.Lock()]}
    if how == "exit":
        raise SystemExit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leave":
        os._exit(0)
    return how


FATAL = {"kill": "was ended by SIGKILL", "leave": "left with exit code 0"}
FAILURES: dict[str, tuple[type[BaseException], str]] = {
    "exception that can't travel": (ParallelTaskError, "CannotTravel: locked"),
    "exception that can't load": (ParallelTaskError, "CannotLoad: twice"),
    "exception of two arguments": (TwoArguments, "404: not found"),
    "result that can't travel": (NotPicklableError, "result of item 3"),
    "exit": (SystemExit, "3"),
    "interrupt": (KeyboardInterrupt, ""),
}


class TestFailures:
    """A failure says which item, where and why, and leaves nothing behind."""

    @local
    def test_own_exception(self, backend: str) -> None:
        """The exception is the item's own, with a note that names it and the traceback of where it was raised."""

        def fail(item: int) -> int:
            if item == 7:
                raise LookupError(f"no {item}")
            return item

        with pytest.raises(LookupError, match="no 7") as caught:
            task(fail, backend=backend)(range(10))
        (line,) = caught.value.__notes__
        assert line.startswith("Raised by item 7 (7) on try 1 in worker ")
        if backend in PROCESSES:
            assert f"worker {os.getpid()}" not in line
        else:
            assert line.endswith(f"worker {os.getpid()}.")
        innermost = traceback.extract_tb(caught.value.__traceback__)[-1]
        assert (innermost.filename, innermost.name) == (__file__, "fail")
        assert innermost.line == 'raise LookupError(f"no {item}")'

    @pytest.mark.slow
    @pytest.mark.parametrize("how", FAILURES)
    @processes
    def test_hard_failures(self, how: str, backend: str) -> None:
        """Whatever an item does short of ending its process is that item's failure, named, and the run ends."""
        kind, text = FAILURES[how]
        with pytest.raises(kind) as caught:
            task(die, backend=backend)(["a", "b", "c", how, "d", "e"])
        assert type(caught.value) is kind
        assert text in str(caught.value)
        assert "Raised by item 3 " in caught.value.__notes__[0]
        assert eventually(lambda: not worker_processes())

    @pytest.mark.slow
    @pytest.mark.parametrize("how", FATAL)
    @processes
    def test_lost_worker(self, how: str, backend: str) -> None:
        """An item that ends two workers in mid-item has failed, the run doesn't hang, and the next run works."""
        began = time.monotonic()
        end = {"kill": "was ended by SIGKILL", "leave": "left with exit code 0"}[how]
        with pytest.raises(WorkerLostError, match=f"Item 2 .* for the second time: the process {end}") as caught:
            task(die, backend=backend)(["a", "b", how, *"defgh"])
        assert (caught.value.index, caught.value.exit_code) == (2, {"kill": -9, "leave": 0}[how])
        assert time.monotonic() - began < 60
        assert eventually(lambda: not worker_processes())
        if how == "kill":
            assert task(die, backend=backend)(["a", "b", "c"]) == ["a", "b", "c"]

    @pytest.mark.parametrize("how", ["exit", "interrupt"])
    def test_exit_in_a_thread(self, how: str) -> None:
        """An exit in a worker thread is that item's failure too."""
        with pytest.raises(FAILURES[how][0]) as caught:
            task(die, backend="threading")(["a", how, "b"])
        assert "item 1" in caught.value.__notes__[0]

    def test_exit_in_sequence(self) -> None:
        """An exit in the task's own thread is the task's: it leaves as it came."""
        with pytest.raises(SystemExit) as caught:
            task(die, backend="sequential")(["a", "exit", "b"])
        assert not hasattr(caught.value, "__notes__")

    @local
    def test_rest_is_not_run(self, backend: str, tmp_path: Path) -> None:
        """After a failure no further item is begun, but those in hand and before the workers."""
        ran = tmp_path / "ran"

        def fail_first(item: int) -> None:
            note(ran, item)
            if item == 0:
                raise LookupError("first")
            time.sleep(0.01)

        with pytest.raises(LookupError):
            task(fail_first, backend=backend, batch_size=1)(range(5000))
        assert len(notes(ran)) < 1000

    def test_processes_that_an_item_started(self, tmp_path: Path) -> None:
        """What an item has started ends with its worker."""
        pids = tmp_path / "pids"

        def start_and_fail(item: int) -> None:
            import subprocess

            note(pids, subprocess.Popen(["sleep", "600"]).pid)
            raise LookupError(item)

        with pytest.raises(LookupError):
            task(start_and_fail, backend="multiprocessing")(range(2))
        assert notes(pids)
        assert eventually(lambda: not worker_processes())

    @pytest.mark.parametrize("backend", ["multiprocessing", "threading"])
    def test_original_cause_is_shown(self, backend: str) -> None:
        """What the item's exception was raised from is not lost."""

        def chained(item: int) -> None:
            try:
                {"a": 1}["key"]
            except KeyError as error:
                raise LookupError("outer") from error

        with pytest.raises(LookupError, match="outer") as caught:
            task(chained, backend=backend)([1, 2])
        cause = caught.value.__cause__
        assert isinstance(cause, KeyError)
        assert traceback.extract_tb(cause.__traceback__)[-1].name == "chained"


class Ended(BaseException):
    """As Airflow's own timeout: no ``Exception``."""


class TestEndedFromOutside:
    """A signal in the waiting task: a timeout, Ctrl-C."""

    @pytest.mark.parametrize("kind", [Ended, KeyboardInterrupt])
    @processes
    def test_processes(self, backend: str, kind: type[BaseException], tmp_path: Path) -> None:
        """What a signal's handler raises ends the run, every worker, and what ``finally`` blocks do is done."""
        begun, left = tmp_path / "begun", tmp_path / "left"

        def sleep(item: int) -> None:
            note(begun)
            try:
                time.sleep(600)
            finally:
                note(left, item)

        with signalled(kind, lambda: len(notes(begun)) == 2) as sent, pytest.raises(kind) as caught:
            task(sleep, backend=backend, batch_size=1)(range(20))
        assert time.monotonic() - sent[0] < 5
        assert not hasattr(caught.value, "__notes__")
        assert worker_processes() == []
        assert len(notes(left)) == 2
        assert len(notes(begun)) == 2

    @processes
    def test_items_that_will_not_leave(self, backend: str, tmp_path: Path) -> None:
        """An item that swallows everything is killed with its worker."""
        begun = tmp_path / "begun"

        def stubborn(item: int) -> None:
            note(begun)
            while True:
                with suppress(BaseException):
                    time.sleep(600)

        with signalled(Ended, lambda: len(notes(begun)) == 2), pytest.raises(Ended):
            task(stubborn, backend=backend, batch_size=1)(range(20))
        assert eventually(lambda: not worker_processes())

    def test_threads(self) -> None:
        """Nothing waits for the items of threads, and none begins another one."""
        begun: list[int] = []
        free = threading.Event()

        def wait(item: int) -> None:
            begun.append(item)
            free.wait(60)

        with signalled(Ended, lambda: len(begun) == 2) as sent, pytest.raises(Ended):
            task(wait, backend="threading", batch_size=1)(range(20))
        assert time.monotonic() - sent[0] < 5
        free.set()
        time.sleep(0.1)
        assert len(begun) == 2

    def test_sequential(self) -> None:
        """In the task's own thread it is not taken for an item's failure."""
        begun: list[int] = []

        def sleep(item: int) -> None:
            begun.append(item)
            time.sleep(60)

        with signalled(Ended, lambda: len(begun) == 1), pytest.raises(Ended) as caught:
            task(sleep, backend="sequential")(range(20))
        assert begun == [0]
        assert not hasattr(caught.value, "__notes__")


@contextmanager
def signalled(kind: type[BaseException], due: Callable[[], bool]) -> Iterator[list[float]]:
    """Send this process a signal as soon as *due*, whose handler raises *kind*; gives the time that it was sent."""
    sent: list[float] = []

    def handle(*_: object) -> None:
        raise kind

    over = threading.Event()

    def watch() -> None:
        if eventually(lambda: over.is_set() or due(), 60) and not over.is_set():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        yield sent
    finally:
        over.set()
        watcher.join(60)
        signal.signal(signal.SIGUSR1, before)


class TestPerWorker:
    """A resource of each worker."""

    @pytest.mark.parametrize("fails", [False, True], ids=["good", "failing"])
    @local
    def test_entered_and_left_once(self, backend: str, fails: bool, tmp_path: Path) -> None:
        """Each worker enters its resource once and leaves it in the same thread, also after a failure."""
        path = tmp_path / "log"

        @contextmanager
        def connect(url: str) -> Iterator[str]:
            me = f"{os.getpid()}.{threading.get_ident()}"
            note(path, f"enter {me}")
            yield f"{url}/{me}"
            note(path, f"leave {os.getpid()}.{threading.get_ident()}")

        def work(item: int, url: str, conn: str) -> str:
            if fails and item == 19:
                raise LookupError(item)
            time.sleep(0.01)
            return conn

        fanned = task(work, backend=backend, batch_size=1, per_worker={"conn": connect})
        if fails:
            with pytest.raises(LookupError):
                fanned(range(20), "db:")
        else:
            used = {conn.removeprefix("db:/") for conn in fanned(range(20), "db:")}
            assert {line.split()[1] for line in notes(path)} >= used
        entered = sorted(line.split()[1] for line in notes(path) if line.startswith("enter"))
        left = sorted(line.split()[1] for line in notes(path) if line.startswith("leave"))
        assert entered == left
        assert len(entered) == len(set(entered))
        assert 1 <= len(entered) <= (1 if backend == "sequential" else 2)

    @local
    def test_database_connection(self, backend: str, tmp_path: Path) -> None:
        """One connection a worker serves all its items; SQLite holds its use and its closing to one thread."""
        database = tmp_path / "test.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("create table done (item integer primary key)")

        def write(item: int, conn: sqlite3.Connection) -> int:
            with conn:
                conn.execute("insert into done values (?)", (item,))
            return item

        fanned = task(
            write, backend=backend, per_worker={"conn": lambda: closing(sqlite3.connect(database, timeout=30))}
        )
        assert fanned(range(50)) == list(range(50))
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("select count(*) from done").fetchone() == (50,)

    @local
    def test_plain_value(self, backend: str) -> None:
        """A resource may be a plain value."""
        fanned = task(lambda item, model: item + model["by"], backend=backend, per_worker={"model": lambda: {"by": 5}})
        assert fanned([1, 2, 3]) == [6, 7, 8]

    @local
    def test_set_up_fails(self, backend: str, tmp_path: Path) -> None:
        """A set-up that fails ends the run with its own exception and a note that names the resource."""
        path = tmp_path / "log"

        def connect() -> None:
            note(path, f"{os.getpid()}.{threading.get_ident()}")
            raise ConnectionError("no route")

        def work(item: int, conn: object) -> None:
            note(path, "ran")

        with pytest.raises(ConnectionError, match="no route") as caught:
            task(work, backend=backend, batch_size=1, per_worker={"conn": connect})(range(20))
        assert caught.value.__notes__[0].startswith("Raised while per_worker 'conn' was set up in worker ")
        assert "ran" not in notes(path)
        assert len(notes(path)) == len(set(notes(path))), "a worker tried twice"

    @processes
    def test_slow_tear_down(self, backend: str, tmp_path: Path) -> None:
        """A tear-down that takes a while is waited for, not cut short."""
        path = tmp_path / "log"

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            time.sleep(1.2)
            note(path, "left")

        assert task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})(range(4)) == [0, 1, 2, 3]
        assert 1 <= len(notes(path)) <= 2

    @processes
    def test_tear_down_fails_in_processes(self, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
        """A tear-down that fails in a worker process is the run's failure, its traceback on the error stream."""

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            raise ConnectionError("lost")

        with pytest.raises(ParallelTaskError, match="did not leave its per_worker resources: leaving one failed"):
            task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})(range(4))
        assert "ConnectionError: lost" in capfd.readouterr().err

    @processes
    def test_long_tear_down(self, backend: str, tmp_path: Path) -> None:
        """After a good run a tear-down gets the time that it takes, beyond what a worker gets to leave otherwise."""

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            time.sleep(4)
            note(tmp_path / "log", "left")

        assert task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})([1, 2]) == [1, 2]
        assert set(notes(tmp_path / "log")) == {"left"}

    @local
    def test_tear_down_fails_too(self, backend: str) -> None:
        """A tear-down that fails after an item did hides nothing: what leaves the run is the item's own exception."""

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            raise ConnectionError("lost")

        def fail(item: int, conn: None) -> None:
            raise LookupError(item)

        with pytest.raises(LookupError):
            task(fail, backend=backend, per_worker={"conn": connect})([1, 2, 3])

    def test_a_fan_out_as_items(self) -> None:
        """Items may be drawn from another fan-out; on loky the inner one runs in this process, with a warning."""
        inner, outer = task(square_or_repeat, backend="loky"), task(square_or_repeat, backend="loky")

        def items() -> Iterator[int]:
            yield from range(50)
            yield from inner([1, 2, 3])

        assert outer(items()) == [outer.function(item) for item in [*range(50), *map(inner.function, [1, 2, 3])]]

    def test_several_fan_outs_as_items(self, caplog: pytest.LogCaptureFixture) -> None:
        """A fan-out over other processes that is drawn from in between doesn't change what loky's may do."""
        tasks = [task(square_or_repeat, backend=backend) for backend in ("multiprocessing", "loky")]

        def items() -> Iterator[int]:
            yield from range(50)
            for inner in tasks:
                yield from inner([1, 2, 3])

        drawn = [tasks[0].function(item) for item in [1, 2, 3]]
        outer = task(square_or_repeat, backend="loky")
        assert outer(items()) == [outer.function(item) for item in [*range(50), *drawn, *drawn]]
        assert "drawn from it" in caplog.text

    def test_tear_down_fails_in_threads(self) -> None:
        """A tear-down that fails after all items is the run's failure, and the other threads leave theirs first."""
        left: list[int] = []
        entered = itertools.count()
        barrier = threading.Barrier(2)

        @contextmanager
        def connect() -> Iterator[None]:
            number = next(entered)
            yield
            left.append(number)
            if number == 0:
                raise ConnectionError("lost")

        def meet(item: int, conn: object) -> None:
            barrier.wait(30)

        with pytest.raises(ConnectionError, match="lost"):
            task(meet, backend="threading", batch_size=1, per_worker={"conn": connect})(range(2))
        assert eventually(lambda: sorted(left) == [0, 1])


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
        assert task(uses_helpers, backend=backend)([1, 2, 3]) == [21, 22, 23]
    finally:
        OFFSET = 10
