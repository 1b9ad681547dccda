"""The early template: when workers are forked from it, what they have, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ParallelTaskError
from airflow_joblib.pools import early
from tests.unit.helpers import eventually, run_python, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_joblib.options import Defaults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are for Linux")

STATE: dict[str, str] = {}

#: A module that starts a thread which is none of Python's, as polars and pyarrow do.
NATIVE = """
import ctypes, logging, os, socket, sys
from airflow_joblib import isolation, parallel_task

def use_threads():
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
"""


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Leave no template to the next test."""
    yield
    early.close_early()


@contextmanager
def used_thread() -> Iterator[None]:
    """Have a thread that a fork would lose."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="poller")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def parent(_: int) -> int:
    """Which process a worker was forked from."""
    return os.getppid()


class TestUse:
    """When workers are forked from it, and what they have."""

    def test_native_threads(self) -> None:
        """After a native thread has started workers have what was there before, and by name what they are sent."""
        code = f"""{NATIVE}
STATE, UNSET = "before", object()

class Point:
    def __init__(self, x):
        self.x = x

def shifted(number):
    return lambda: number + 1

@parallel_task(n_jobs=2, batch_size=1)
def look(item, point, text):
    number, unset, shift = item
    same = type(point) is Point and unset is UNSET and shift.__globals__ is globals()
    return same, STATE, os.environ["SET"], text, Point(shift()), os.getppid()

look.fork_early()
STATE, os.environ["SET"] = "after", "late"
use_threads()
found = look.map([(number, UNSET, shifted(number)) for number in range(4)], Point(1), text="t" * 3)
assert [each[:4] for each in found] == [(True, "before", "late", "ttt")] * 4, found
assert [each[4].x for each in found] == [1, 2, 3, 4] and {{type(each[4]) for each in found}} == {{Point}}
assert len({{each[5] for each in found}}) == 1 and found[0][5] != os.getpid()
"""
        said = run_python(code).stderr
        assert "look: workers are forked from what this process was before the task's arguments were loaded" in said
        assert "would lose the thread 'python'" in said
        assert "What has been set since" in said

    def test_process_that_is_closed_to_others(self) -> None:
        """The call reaches workers, as closed as the task, where nobody may look into the task's files."""
        code = f"""{NATIVE}
import numpy
isolation.close_to_others()

@parallel_task(n_jobs=2)
def look(item, array):
    return isolation.open_to_others(), array.sum(), array.flags.writeable

look.fork_early()
use_threads()
print(set(look.map(range(4), numpy.ones(1 << 20))))
"""
        pytest.importorskip("numpy")
        assert run_python(code).stdout == "{(False, np.float64(1048576.0), False)}\n"

    def test_the_latest_safe_fork_goes_first(self, caplog: pytest.LogCaptureFixture) -> None:
        """Where a fork is safe when the run begins, workers have all that was set until then, and one process less."""
        caplog.set_level("INFO", logger="airflow_joblib")
        look = task(lambda _: (STATE.get("set"), os.getppid()), backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        STATE["set"] = "late"
        found = look.map(range(2))
        assert {state for state, _ in found} == {"late"}
        assert template.pid not in {pid for _, pid in found}
        assert not worker_processes()
        assert "workers are forked from this process as it stands" in caplog.text

    def test_one_run_after_another(self) -> None:
        """As long as nobody closes it the next run of the task has it too."""
        look = task(parent, backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        with used_thread():
            assert set(look.map(range(4)) + look.map(range(4))) == {template.pid}
        early.close_early()
        assert not worker_processes()

    def test_a_run_within_a_run(self) -> None:
        """A run whose items another one makes gets workers of its own, and takes no template from that one."""
        look = task(parent, backend="auto", batch_size=1)
        look.fork_early()
        (template,) = worker_processes()

        def draw() -> Iterator[int]:
            for number in range(20):
                if number == 10:
                    assert template.pid not in look.map(range(4))
                yield number

        with used_thread():
            assert set(look.map(draw())) == {template.pid}

    def test_asked_for_the_task_as_it_stands(self) -> None:
        """``backend="multiprocessing"`` forks late in any case."""
        look = task(parent, backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        with used_thread():
            assert template.pid not in look.override(backend="multiprocessing").map(range(4))
        assert not worker_processes()

    def test_what_was_set_since_is_named(self, tmp_path: Path) -> None:
        """An object that workers would know by a name that was set since is an error with that name, not None."""
        code = f"""{NATIVE}
UNSET = None

@parallel_task(n_jobs=2)
def look(item):
    return item

look.fork_early()
use_threads()
LATER = object()
print(look.map([LATER, LATER]))
"""
        done = run_python(code, check=False)
        assert done.returncode == 1
        assert "has no attribute 'LATER'" in done.stderr


class TestNone:
    """When none is forked."""

    @pytest.mark.parametrize(
        "options",
        [{"backend": name} for name in ("threading", "sequential", "loky", "multiprocessing", "dask")]
        + [{"n_jobs": 1}],
        ids=str,
    )
    def test_it_would_serve_nobody(self, options: dict[str, Any]) -> None:
        """There is none where workers are no forks, are forked late in any case, or where there are none."""
        task(abs, **{"backend": "auto", **options}).fork_early()
        assert not worker_processes()

    def test_another_start_method(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor where the user has asked for another way to start processes."""
        monkeypatch.setenv("JOBLIB_START_METHOD", "spawn")
        task(abs, backend="auto").fork_early()
        assert not worker_processes()

    def test_another_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor elsewhere than on Linux."""
        monkeypatch.setattr(sys, "platform", "darwin")
        task(abs, backend="auto").fork_early()
        assert not worker_processes()

    def test_threads_were_there_before(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nor where the DAG file has used threads when it was loaded: then workers are fresh ones."""
        caplog.set_level("INFO", logger="airflow_joblib")
        look = task(parent, backend="auto")
        with used_thread():
            look.fork_early()
            assert not worker_processes()
            assert set(look.map(range(2))) == {os.getpid()}
        assert "workers are fresh processes (loky)" in caplog.text

    def test_what_fails_is_the_runs(self) -> None:
        """What goes wrong before the run is no error yet: the run will say it."""

        def broken() -> Defaults:
            raise ParallelTaskError("no Airflow that is known")

        early.fork_early("f", task(abs).options, broken)
        assert not worker_processes()


class TestEnds:
    """How it ends."""

    def test_it_was_killed(self) -> None:
        """A run that needs it ends with an error of its own where something has killed it."""
        look = task(parent, backend="auto")
        look.fork_early()
        (template,) = worker_processes()
        template.kill()
        assert eventually(lambda: not worker_processes())
        with used_thread(), pytest.raises(ParallelTaskError, match=r"forked from has ended \(exit code -9\)"):
            look.map(range(4))

    def test_killed_and_not_needed(self) -> None:
        """A run that doesn't need it doesn't notice."""
        look = task(abs, backend="auto")
        look.fork_early()
        worker_processes()[0].kill()
        assert look.map([1, -2]) == [1, 2]

    def test_a_new_one_replaces_it(self) -> None:
        """A process that runs one task after another has one at a time."""
        for _ in range(3):
            task(abs, backend="auto").fork_early()
        assert len(worker_processes()) == 1

    def test_descriptors_and_threads(self) -> None:
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
    def test_it_dies_with_the_task(self, end: Any) -> None:
        """It is gone however the task ends that has not used it, and holds nobody up."""
        code = """
import sys, time
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

    def test_a_fork_of_the_task_has_none(self) -> None:
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


def _files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]  # noqa: PTH115, PTH208
