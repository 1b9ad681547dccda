"""How worker processes leave, and what happens where they can't."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ParallelTaskError
from airflow_joblib.pools import shutdown
from tests.unit.helpers import PROCESSES, PROCESSES_BY_DAY, eventually, note, notes, run_python, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_offspring(monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers have started is found, whichever thread did; where none has started anything no scan is needed."""
    code = "import subprocess, sys, threading\n"
    code += "run = lambda: subprocess.Popen(['sleep', '600'])\nthread = threading.Thread(target=run)\n"
    code += "sys.argv[1:] and (thread.start(), thread.join())\nprint(1, flush=True)\nsys.stdin.read()"
    workers = []
    for argument in ([], ["start"]):
        command = [sys.executable, "-c", code, *argument]
        workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for worker in workers:
            assert worker.stdout
            worker.stdout.readline()
        (started,) = shutdown.offspring(workers)
        assert started.cmdline() == ["sleep", "600"]
        started.kill()
        monkeypatch.setattr(psutil.Process, "children", None)
        assert shutdown.offspring(workers[:1]) == []
    finally:
        for worker in workers:
            worker.communicate()


@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
def test_an_interruption_does_not_wait_for_resources(backend: str, tmp_path: Path) -> None:
    """What interrupts the task while resources are left ends the workers, and what they have started, at once."""
    leaving, started = tmp_path / "leaving", tmp_path / "started"

    @contextmanager
    def slow() -> Iterator[int]:
        process = subprocess.Popen(["sleep", "600"])
        note(started, process.pid)
        try:
            yield 1
        finally:
            note(leaving, os.getpid())
            time.sleep(600)

    def interrupt(*_: Any) -> None:
        if notes(leaving):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        with pytest.raises(TimeoutError):
            task(lambda item, resource: item + resource, backend=backend, per_worker={"resource": slow})(range(4))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not worker_processes()
    assert eventually(lambda: not any(_runs(int(pid)) for pid in notes(started)))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")  # in loky's thread, which an error would end
def test_a_worker_that_has_grown_is_replaced(tmp_path: Path) -> None:
    """Where loky has put another worker in the place of one that has grown, each leaves its resource in peace."""
    entered, left = tmp_path / "entered", tmp_path / "left"

    @contextmanager
    def resource() -> Iterator[list[bytes]]:
        note(entered, os.getpid())
        try:
            yield []
        finally:
            time.sleep(1)
            note(left, os.getpid())

    def grow(item: int, kept: list[bytes]) -> int:
        if len(kept) < 10:
            kept.append(b"x" * 50_000_000)
        time.sleep(0.3)
        return item

    results = task(grow, backend="loky", batch_size=1, per_worker={"kept": resource})(range(32))
    assert results == list(range(32))
    assert len(notes(entered)) > 2, "no worker was replaced"
    assert sorted(notes(left)) == sorted(notes(entered))


def default() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def own() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)


def block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))


def loop_with_handler() -> None:
    async def work() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, bool)

    asyncio.run(work())


CHANGES = (default, ignore, own, block, loop_with_handler)


class Resource:
    """Notes who has entered and left it."""

    def __init__(self, path: Path, at_end: Callable[[], object] = bool) -> None:
        self.path = path
        self.at_end = at_end

    @property
    def entered(self) -> list[str]:
        return sorted(notes(self.path / "entered"))

    @property
    def left(self) -> list[str]:
        return sorted(notes(self.path / "left"))

    @contextmanager
    def __call__(self) -> Iterator[int]:
        note(self.path / "entered", os.getpid())
        try:
            yield 1
        finally:
            self.at_end()
            note(self.path / "left", os.getpid())


#: What fresh workers do of this with any handler they do with one: two of theirs by day.
DONE = [
    pytest.param(backend, change, where, marks=[pytest.mark.nightly] if night else [])
    for backend in PROCESSES
    for change in CHANGES
    for where in ("item", "leaving")
    for night in [backend == "loky" and (change, where) not in {(block, "item"), (default, "leaving")}]
]


@pytest.mark.parametrize(("backend", "change", "where"), DONE)
def test_whatever_is_done_to_sigterm(backend: str, change: Callable[[], None], where: str, tmp_path: Path) -> None:
    """After a good run each worker leaves what it holds, and takes its time, whatever SIGTERM does there by then."""

    def at_end() -> None:
        if where == "leaving":
            change()
            time.sleep(1.2)

    def work(item: int, resource: int) -> int:
        if where == "item":
            change()
        time.sleep(0.01)
        return item + resource

    began, resource = time.monotonic(), Resource(tmp_path, at_end)
    assert task(work, backend=backend, per_worker={"resource": resource})(range(20)) == list(range(1, 21))
    assert time.monotonic() - began < 30
    assert resource.left == resource.entered != []
    assert not worker_processes()


@pytest.mark.parametrize("change", [default, own, block])
@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
def test_after_a_failure(backend: str, change: Callable[[], None], tmp_path: Path) -> None:
    """After a failed run idle workers leave what they hold, though an item has changed what SIGTERM does."""
    resource = Resource(tmp_path)

    def work(item: int, resource: int) -> int:
        change()
        time.sleep(0.05)
        return resource // (item - 10)

    with pytest.raises(ZeroDivisionError):
        task(work, backend=backend, per_worker={"resource": resource}, batch_size=1)(range(11))
    assert resource.left == resource.entered != []


def exit_at_once() -> None:
    os._exit(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("backend", "end"),
    [
        ("loky", kill_itself),
        pytest.param("loky", exit_at_once, marks=pytest.mark.nightly),
        ("multiprocessing", kill_itself),
        ("multiprocessing", exit_at_once),
    ],
)
def test_a_worker_that_ends_while_it_leaves(backend: str, end: Callable[[], None], tmp_path: Path) -> None:
    """A good run fails where a worker ended before it had left what it holds, however calm its end."""
    resource = Resource(tmp_path, end)
    with pytest.raises(ParallelTaskError, match="did not leave its per_worker resources"):
        task(lambda item, it: item + it, backend=backend, per_worker={"it": resource})(range(4))
    assert resource.left == []


@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
def test_a_worker_that_an_item_ends(backend: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where an item ends its worker the run goes on, and the log says that resources were not left."""
    resource = Resource(tmp_path)

    def work(item: int, resource: int) -> int:
        if item == 3:
            os._exit(0)
        return item + resource

    results = task(work, backend=backend, per_worker={"resource": resource}, max_failures=1, batch_size=1)(range(6))
    assert results == [1, 2, 3, None, 5, 6]
    assert "was not left in" in caplog.text
    assert len(resource.left) < len(resource.entered)


@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
def test_leaving_is_bounded(backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker that never comes out of what it holds is ended, and the run fails with that said."""
    monkeypatch.setattr(shutdown, "LEAVING", 1.0)
    resource = Resource(tmp_path, lambda: time.sleep(600))
    began = time.monotonic()
    with pytest.raises(ParallelTaskError, match="did not leave its per_worker resources"):
        task(lambda item, it: item + it, backend=backend, per_worker={"it": resource})(range(4))
    assert time.monotonic() - began < 60
    assert not worker_processes()


ASLEEP = """
import time
try:
    print("began", flush=True)
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("backend", PROCESSES)
def test_what_an_item_starts_can_be_interrupted(backend: str) -> None:
    """A process that an item starts, or forks, answers SIGINT and SIGTERM as one that the task starts."""

    def started() -> str:
        process = subprocess.Popen([sys.executable, "-c", ASLEEP], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGINT)
        return process.communicate()[0].strip()

    def forked(number: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                time.sleep(20)
            except KeyboardInterrupt:
                os._exit(7)
            os._exit(0)
        time.sleep(0.5)
        os.kill(pid, number)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def start(number: int) -> str | int:
        return forked(number) if number else started()

    items = [0, signal.SIGTERM, signal.SIGINT]
    assert task(start, backend=backend, batch_size=1)(items) == ["interrupted", -signal.SIGTERM, 7]


@pytest.mark.parametrize("backend", PROCESSES)
def test_interrupt_of_the_group(backend: str, tmp_path: Path) -> None:
    """Ctrl-C, which reaches the task and its workers alike, ends the run; workers come out of their items."""
    code = f"""
import logging, os, signal, threading, time
from airflow_joblib import parallel_task
logging.getLogger("airflow_joblib").setLevel("ERROR")  # a fork loses the thread that interrupts
def work(item):
    open({str(tmp_path)!r} + f"/began-{{item}}", "w").close()
    try: time.sleep(60)
    finally: open({str(tmp_path)!r} + f"/unwound-{{item}}", "w").close()
def interrupt():
    while len(os.listdir({str(tmp_path)!r})) < 2: time.sleep(0.05)
    os.killpg(0, signal.SIGINT)
os.setpgid(0, 0)
threading.Thread(target=interrupt, daemon=True).start()
try: parallel_task(n_jobs=2, backend={backend!r})(work).map([0, 1])
except KeyboardInterrupt: print("interrupted")
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert {file.name for file in tmp_path.glob("unwound-*")} == {"unwound-0", "unwound-1"}
