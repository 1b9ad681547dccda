"""The run itself: results in order on every backend, nothing run in vain, and nothing run before the check."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_joblib import NotPicklableError
from airflow_joblib.pools import loky, threads
from tests.unit.helpers import (
    LOCAL,
    LOCAL_BY_DAY,
    ONE_WORKER,
    PROCESSES,
    note,
    notes,
    run_python,
    square_or_repeat,
    task,
    worker_processes,
)

if TYPE_CHECKING:
    from pathlib import Path

processes = pytest.mark.parametrize("backend", PROCESSES)
local = pytest.mark.parametrize("backend", LOCAL)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
CHEAP = ("multiprocessing", "threading", "sequential")


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

    @settings(max_examples=25)
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

    @settings(max_examples=2)
    @given(items=st.lists(values, min_size=2, max_size=30), n_jobs=st.integers(2, 3), batch_size=sizes)
    def test_equals_a_loop_on_loky(self, items: list[Any], n_jobs: int, batch_size: Any) -> None:
        """The same on loky, with fewer examples, since each starts its workers anew."""
        fanned = task(square_or_repeat, backend="loky", n_jobs=n_jobs, batch_size=batch_size)
        assert fanned(items) == [square_or_repeat(item) for item in items]

    @local_by_day
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
            work = task(add_in_place, backend=backend, **ONE_WORKER)
            assert work([np.zeros(1 << 18), np.zeros(1 << 18)]) == [1 << 18] * 2

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


def test_callers_in_threads() -> None:
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
