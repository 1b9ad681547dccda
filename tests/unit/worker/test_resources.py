"""What ``per_worker`` gives, in whole runs: a resource of each worker, entered and left once."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from airflow_joblib import ParallelTaskError
from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, PROCESSES_BY_DAY, eventually, note, notes, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

processes_by_day = pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
local = pytest.mark.parametrize("backend", LOCAL)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)


class TestPerWorker:
    """A resource of each worker."""

    @pytest.mark.parametrize(
        ("backend", "fails"),
        [
            pytest.param(
                backend,
                fails,
                id=f"{backend}-{'failing' if fails else 'good'}",
                marks=[pytest.mark.nightly] if fails and backend == "loky" else [],
            )
            for backend in LOCAL
            for fails in (False, True)
        ],
    )
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

    @local_by_day
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

    @local_by_day
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

    @processes_by_day
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

    @processes_by_day
    def test_tear_down_fails_in_processes(self, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
        """A tear-down that fails in a worker process is the run's failure, its traceback on the error stream."""

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            raise ConnectionError("lost")

        with pytest.raises(ParallelTaskError, match="did not leave its per_worker resources: leaving one failed"):
            task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})(range(4))
        assert "ConnectionError: lost" in capfd.readouterr().err

    @processes_by_day
    def test_long_tear_down(self, backend: str, tmp_path: Path) -> None:
        """After a good run a tear-down gets the time that it takes, beyond what a worker gets to leave otherwise."""

        @contextmanager
        def connect() -> Iterator[None]:
            yield
            time.sleep(4)
            note(tmp_path / "log", "left")

        assert task(lambda item, conn: item, backend=backend, per_worker={"conn": connect})([1, 2]) == [1, 2]
        assert set(notes(tmp_path / "log")) == {"left"}

    @local_by_day
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
