"""How the early template ends, and what of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ParallelTaskError
from airflow_joblib.pools import early
from tests.unit.helpers import eventually, note, notes, task, worker_processes
from tests.unit.pools.threads import NATIVE, parent, used_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Leave no template to the next test."""
    yield
    early.close_early()


def test_it_was_killed() -> None:
    """A run that needs it ends with an error of its own where something has killed it."""
    look = task(parent, backend="auto")
    look.fork_early()
    (template,) = worker_processes()
    template.kill()
    assert eventually(lambda: not worker_processes())
    with used_thread(), pytest.raises(ParallelTaskError, match=r"forked from has ended \(exit code -9\)"):
        look.map(range(4))


def test_killed_and_not_needed() -> None:
    """A run that doesn't need it doesn't notice."""
    look = task(abs, backend="auto")
    look.fork_early()
    worker_processes()[0].kill()
    assert look.map([1, -2]) == [1, 2]


def test_a_new_one_replaces_it() -> None:
    """A process that runs one task after another has one at a time."""
    for _ in range(3):
        task(abs, backend="auto").fork_early()
    assert len(worker_processes()) == 1


def test_descriptors_and_threads() -> None:
    """It has nothing in the place of the task's sockets, and the task is as it was once it is closed."""
    task(abs, backend="auto").fork_early()
    early.close_early()
    before = psutil.Process().num_fds(), threading.active_count()
    task(abs, backend="auto").fork_early()
    (template,) = worker_processes()
    assert eventually(lambda: len([name for name in _files(template.pid) if name.startswith("socket:")]) == 1)
    early.close_early()
    assert (psutil.Process().num_fds(), threading.active_count()) == before


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, "return", "exit"])
def test_it_dies_with_the_task(end: Any) -> None:
    """It is gone however the task ends that has not used it, and holds nobody up."""
    code = """
import sys
from airflow_joblib import parallel_task
parallel_task(n_jobs=2, backend="auto")(abs).fork_early()
print("forked", flush=True)
if (word := sys.stdin.readline()) == "exit\\n":
    sys.exit(3)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (template,) = psutil.Process(process.pid).children()
        if isinstance(end, str):
            process.communicate(f"{end}\n", timeout=20)
        else:
            process.send_signal(end)
    assert psutil.wait_procs([template], timeout=5)[1] == []


def test_a_fork_of_the_task_has_none() -> None:
    """A process that the task forks leaves the template alone."""
    task(abs, backend="auto").fork_early()
    (template,) = worker_processes()
    child = os.fork()
    if child == 0:
        with early.early_template() as found:
            early.close_early()
            os._exit(0 if found is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert template.is_running()


def test_killed_while_workers_run(tmp_path: Path) -> None:
    """Killed during the run it ends that with an error of its own, and its workers with it."""
    began = tmp_path / "began"

    def work(_: int) -> None:
        note(began)
        threading.Event().wait(60)

    look = task(work, backend="auto")
    look.fork_early()
    (template,) = worker_processes()

    def kill() -> None:
        eventually(lambda: len(notes(began)) == 2)
        template.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with used_thread(), pytest.raises(ParallelTaskError, match="forked from has ended"):
        look.map(range(4))
    killer.join()
    assert not worker_processes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_outlives_the_task(number: int, tmp_path: Path) -> None:
    """Its workers, and itself, are gone at once when the task is ended by a signal."""
    code = f"""{NATIVE}
import time
def work(item):
    open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w").close()
    time.sleep(60)
work = parallel_task(n_jobs=2)(work)
work.fork_early()
use_threads()
work.map([1, 2])
"""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-c", code], stdin=quiet, stderr=quiet) as process:
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3
        process.send_signal(number)
    assert psutil.wait_procs(family, timeout=5)[1] == []


def _files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]  # noqa: PTH115, PTH208
