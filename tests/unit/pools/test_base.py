"""The pool: joblib's backends, a user's own ones among them, driven chunk by chunk, and nothing left of them."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import joblib
import psutil
import pytest
from joblib.parallel import MultiprocessingBackend, ThreadingBackend

from airflow_joblib import InvalidOptionError, WorkerLostError, parallel_task
from airflow_joblib.options.backends import backend_named
from airflow_joblib.pickling.pickler import dumps
from airflow_joblib.pools.loky import LokyPool
from airflow_joblib.pools.threads import ThreadPool
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.chunk import ItemChunk, Packer
from airflow_joblib.wire.records import Payload, Report
from airflow_joblib.worker.worker import Worker
from tests.unit.helpers import PROCESSES, eventually, note, notes, run_python, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_joblib.pools.base import Pool


# Python's own pool complains in its finalizer that its constructor was not run to the end.
half_made = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def chunk(first: int, *items: Any) -> ItemChunk:
    return ItemChunk(range(first, first + len(items)), items, Packer(0))


def next_report(running: Pool) -> Report:
    taken = running.next_report()
    assert taken is not None
    return taken[1]


def loky_pool(function: Callable[..., Any], **options: Any) -> LokyPool:
    return LokyPool(Payload(dumps(Call(function)), dumps([])), 2, options)


def double(item: int) -> int:
    return item * 2


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_reports_come_as_they_finish(backend: str, tmp_path: Path) -> None:
    """A slow chunk holds no other one up."""
    go = tmp_path / "go"

    def wait(item: int) -> int:
        assert item or eventually(go.exists, 60)
        return item

    made = ThreadPool(Call(wait), backend, 2, {}) if backend == "threading" else loky_pool(wait)
    with made as running:
        for first in range(3):
            running.submit(chunk(first, first))
        assert running.under_way == 3
        assert {next_report(running).first for _ in range(2)} == {1, 2}
        go.touch()
        assert next_report(running).first == 0
        assert running.under_way == 0


def test_runs_alike_are_told_apart() -> None:
    """Two pools that are given the same give their workers something different, wherever their boards lie."""
    payloads = []
    for _ in range(2):
        with loky_pool(double) as running:
            payloads.append(running._payload._replace(status_board=""))
    assert payloads[0] != payloads[1]


class OwnProcesses(MultiprocessingBackend):  # type: ignore[misc]
    """A user's own backend of processes, which takes no initializer."""

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> Any:
        return super().configure(n_jobs=n_jobs, parallel=parallel)


class OwnThreads(ThreadingBackend):  # type: ignore[misc]
    """A user's own backend of threads."""


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[str]:
    """Register a backend under a name of its own."""
    name = f"own-{request.param.__name__}"
    joblib.register_parallel_backend(name, request.param)
    yield name
    del joblib.parallel.BACKENDS[name]


processes_of_ones_own = pytest.mark.parametrize("own", [OwnProcesses], indirect=True)


@pytest.mark.parametrize("own", [OwnProcesses, OwnThreads], indirect=True)
class TestOwnBackend:
    """Any backend that is registered with joblib works."""

    def test_results(self, own: str) -> None:
        """It runs the items; whether they need pickling is told by the backend itself."""
        assert backend_named(own).processes == ("Processes" in own)
        task = parallel_task(n_jobs=2, backend=own)(lambda item: (item, os.getpid()))
        items, pids = zip(*task(range(20)), strict=True)
        assert items == tuple(range(20))
        assert (os.getpid() in pids) == ("Threads" in own)

    def test_failure(self, own: str) -> None:
        """A failure is the item's own."""

        def fail(item: int) -> None:
            raise LookupError(item)

        with pytest.raises(LookupError) as caught:
            parallel_task(n_jobs=2, backend=own)(fail)(range(20))
        assert "Raised by item " in caught.value.__notes__[0]

    def test_resources(self, own: str, tmp_path: Path) -> None:
        """Resources are entered once per worker, and closed."""
        path = tmp_path / "log"

        class Connection:
            def __enter__(self) -> Self:
                note(path, "enter")
                return self

            def __exit__(self, *_: object) -> None:
                note(path, "leave")

        task: Any = parallel_task(n_jobs=2, backend=own, per_worker={"conn": Connection})(lambda item, conn: item)
        assert task(range(20)) == list(range(20))
        assert 1 <= notes(path).count("enter") == notes(path).count("leave") <= 2


@processes_of_ones_own
def test_lost_worker_of_ones_own_backend(own: str) -> None:
    """A worker killed under a backend derived from multiprocessing's hangs nothing."""

    def die(item: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLostError, match="was ended by SIGKILL"):
        parallel_task(n_jobs=2, backend=own)(die)(range(4))
    assert eventually(lambda: not worker_processes())


@processes_of_ones_own
def test_runs_follow_each_other(own: str) -> None:
    """A second run on such a backend has its own function."""
    assert parallel_task(n_jobs=2, backend=own)(double)([1, 2]) == [2, 4]
    assert parallel_task(n_jobs=2, backend=own)(hex)([1, 2]) == ["0x1", "0x2"]


@half_made
def test_backend_options() -> None:
    """Options that the backend doesn't take are an error that names them; the next run works."""
    task = parallel_task(n_jobs=2, backend="multiprocessing", backend_options={"no_such_option": 1})(double)
    with pytest.raises(
        InvalidOptionError, match=r"backend_options \['no_such_option'\] don't suit .*'multiprocessing'"
    ):
        task([1, 2])
    gc.collect()
    assert parallel_task(n_jobs=2, backend="multiprocessing")(double)([1, 2]) == [2, 4]


def test_backend_options_reach_the_backend() -> None:
    """Options that the backend takes reach it."""
    task = parallel_task(n_jobs=2, backend="loky", backend_options={"inner_max_num_threads": 1})(
        lambda item: os.environ.get("OMP_NUM_THREADS")
    )
    assert task([1, 2, 3]) == ["1"] * 3


def test_thread_that_never_had_a_chunk() -> None:
    """It has nothing to leave, and the one that had some leaves what it holds."""
    left: list[int] = []

    class Connection:
        def __enter__(self) -> int:
            return threading.get_ident()

        def __exit__(self, *_: object) -> None:
            left.append(threading.get_ident())

    call = Call(lambda item, conn: conn, factories={"conn": Connection})
    with ThreadPool(call, "threading", 3, {}) as running:
        running.submit(chunk(0, 1))
        (entered,) = next_report(running).values
    assert left == [entered]


def test_workers_are_gone() -> None:
    """Leaving the pool ends every worker, whatever was under way."""

    def wait(item: float) -> float:
        time.sleep(item)
        return item

    with loky_pool(wait) as running:
        for first in range(6):
            running.submit(chunk(first, 0 if first < 2 else 600))
        pids = {next_report(running).worker for _ in range(2)}
        assert any(psutil.pid_exists(pid) for pid in pids)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert worker_processes() == []


@half_made
def test_failure_to_start_releases_the_lock() -> None:
    """A pool that can't start leaves the way free for the next one, in any thread."""
    with pytest.raises(InvalidOptionError), loky_pool(double, temp_folder=3):
        pass
    gc.collect()
    done: list[list[int]] = []
    run = parallel_task(n_jobs=2, backend="loky")(double)
    other = threading.Thread(target=lambda: done.append(run([1, 2])))
    other.start()
    other.join(120)
    assert done == [[2, 4]]


@pytest.mark.parametrize(
    "backend", ["auto", *(pytest.param(backend, marks=pytest.mark.nightly) for backend in PROCESSES)]
)
def test_nothing_is_written(backend: str) -> None:
    """A run writes nothing to the standard streams, with Python's warnings shown and another thread in the task.

    By default workers are forked, and beside that thread fresh ones.
    Python 3.12 and later warn of forks beside threads, and 3.13 of buffers that are collected while they are in use.
    """
    code = f"""
import logging, threading, time
import numpy as np
from airflow_joblib import parallel_task
logging.basicConfig(level=logging.ERROR)
def f(item, large):
    return item if item.nbytes > 8 else item[0].item()
run = parallel_task(n_jobs=2, backend={backend!r}, batch_size=1)(f)
for _ in range(2):
    assert run([np.array([item]) for item in range(10)], large=np.zeros(1 << 19)) == list(range(10))
    assert len(run([np.zeros(1 << 19)] * 3, large=bytes(1 << 22))) == 3
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
"""
    done = run_python(code, PYTHONWARNINGS="always")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.timeout(60)
def test_error_of_what_runs_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no item's failure ends a run on threads with that error, and nobody waits for what has ended."""

    def broken(*_: object) -> None:
        raise MemoryError("in the worker")

    monkeypatch.setattr(Worker, "_run_items", broken)
    with pytest.raises(MemoryError, match="in the worker"):
        parallel_task(n_jobs=2, backend="threading")(lambda item: item)(range(20))
