"""How loky's processes are started."""

from __future__ import annotations

import re
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import airflow_joblib
from airflow_joblib.pools.base import Pool
from tests.unit.helpers import eventually, run_python, task

if TYPE_CHECKING:
    from types import TracebackType

pytestmark = pytest.mark.slow

#: In one worker each, since to start them is most of these tests: one chunk takes one, and for a limit a process.
RUN = """
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)
def program(item):
    return "ours" if "loky_worker" in open("/proc/self/cmdline").read() else "its own"
if __name__ == "__main__":
    print(program([1, 2]))
"""


def test_workers_are_started_by_us() -> None:
    """A worker of loky runs the program of this library, which closes it to others before it is given anything."""
    assert run_python(RUN).stdout.strip() == "['ours', 'ours']"


UNKNOWN = {
    "another process": """
from joblib.externals.loky.backend import context, process
class Other(process.LokyProcess):
    pass
context.LokyContext.Process = Other
""",
    "another context": """
from joblib.externals.loky import process_executor
process_executor.ProcessPoolExecutor._context = property(
    lambda self: self.__dict__["context"], lambda self, value: self.__dict__.setdefault("context", value)
)
""",
    "another tracker": """
from joblib.externals.loky.backend import resource_tracker
def main(fd, verbose=0):
    raise NotImplementedError
main.__module__ = "joblib.externals.loky.backend.resource_tracker"
resource_tracker.main = main
""",
}


@pytest.mark.parametrize(
    "change", ["another process", *(pytest.param(name, marks=pytest.mark.nightly) for name in [*UNKNOWN][1:])]
)
def test_unknown_loky(change: str, tmp_path: Path) -> None:
    """Where loky's inner parts are others than is known, the run is the same, with workers as loky starts them."""
    script = tmp_path / "script.py"
    script.write_text(UNKNOWN[change] + RUN)
    out = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')").stdout
    assert out.strip() == str(["ours" if change == "another tracker" else "its own"] * 2)


def test_out_of_reach(tmp_path: Path) -> None:
    """A package that only this process has on its search path is not what a new interpreter is told to run."""
    source = Path(airflow_joblib.__file__).parent
    shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    out = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})" + RUN).stdout
    assert out.strip() == "['its own', 'its own']"


NESTED = """
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)
def nested(item):
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend
    backend, _ = get_active_backend()
    values = Parallel(n_jobs=2)(delayed(abs)(n) for n in (-item, 2))
    return type(backend).__name__, backend.nesting_level, values
if __name__ == "__main__":
    for row in nested([1, 2, 3, 4]):
        print(*row)
"""


def test_nested_joblib() -> None:
    """An item that uses joblib has the threads that joblib gives nested calls."""
    rows = run_python(NESTED).stdout.splitlines()
    assert rows == [f"ThreadingBackend 1 [{n}, 2]" for n in range(1, 5)]


@pytest.mark.nightly  # loky's own doing: that an item may use joblib is tested above
def test_nested_processes() -> None:
    """An item can use processes of loky by itself."""
    code = NESTED.replace("Parallel(n_jobs=2)", 'Parallel(n_jobs=2, backend="loky")')
    assert "[1, 2]" in run_python(code).stdout


SUBMODULES = """
import importlib, tempfile
from joblib import Memory
from airflow_joblib import parallel_task

@parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)
def look_up(name):  # a worker has nothing of joblib until it asks for it
    return importlib.import_module(name).__name__

@parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)
def cached(item):
    return absolute(item)

if __name__ == "__main__":
    absolute = Memory(tempfile.mkdtemp(), verbose=0).cache(abs)
    print(look_up.map(["joblib.numpy_pickle", "joblib.hashing"]), cached.map([-1, 2, -1, 2]))
"""


def test_submodules_of_joblib() -> None:
    """An item may import any part of joblib first, and use a function that ``joblib.Memory`` caches."""
    assert run_python(SUBMODULES).stdout == "['joblib.numpy_pickle', 'joblib.hashing'] [1, 2, 1, 2]\n"


def test_tracker_cleans_up() -> None:
    """What loky holds outside of its processes is gone after the task was killed."""
    code = """
import os, signal
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky")
def kill(item, parent):
    from pathlib import Path
    if item == 1:
        print(parent, len([*Path("/dev/shm").glob(f"sem.loky-{parent}-*")]), flush=True)
        os.kill(parent, signal.SIGKILL)
kill([1, 2], os.getpid())
"""
    done = run_python(code, check=False)
    parent, semaphores = done.stdout.split()
    assert done.returncode == -signal.SIGKILL
    # loky unlinks none of them before its tracker does: without one they would stay
    assert int(semaphores) > 0
    assert eventually(lambda: not [*Path("/dev/shm").glob(f"sem.loky-{parent}-*")])


ENDED = """
import os, signal, sys, time
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky", item_timeout=1 if "HOW" == "timeout" else None)
def work(item, parent):
    if item == 3:
        if "HOW" == "fails":
            raise LookupError
        if "HOW" in ("SIGKILL", "SIGTERM"):
            os.kill(parent, getattr(signal, "HOW"))
        if "HOW" == "worker killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(100)
try:
    work(range(6), os.getpid())
except BaseException as error:
    print(type(error).__name__, flush=True)
    os._exit(1)  # as Airflow ends its tasks: no exit handler runs
"""
HANDLED = "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"


@pytest.mark.parametrize(
    ("how", "handler", "raised"),
    [
        pytest.param("fails", "", "LookupError", marks=pytest.mark.nightly),
        pytest.param("timeout", "", "ItemTimeoutError", marks=pytest.mark.nightly),
        ("worker killed", "", "WorkerLostError"),
        pytest.param("SIGTERM", HANDLED, "SystemExit", marks=pytest.mark.nightly),
        ("SIGTERM", "", ""),
        ("SIGKILL", "", ""),
    ],
    ids=["fails", "timeout", "worker killed", "task terminated", "task ended by SIGTERM", "task killed"],
)
def test_trackers_keep_quiet(how: str, handler: str, raised: str) -> None:
    """No tracker writes of what was left by a run that failed, or was ended, to the task's error stream."""
    done = run_python(ENDED.replace("HOW", how).replace("try:", handler + "try:"), check=False)  # until all have ended
    assert done.stdout.strip() == raised
    assert not re.search("resource_tracker|leaked", done.stderr), done.stderr


def test_own_shared_memory_is_named() -> None:
    """Shared memory that the user's own code has left is named as ever."""
    code = """
import os
from multiprocessing.shared_memory import SharedMemory
from airflow_joblib import parallel_task
parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)(abs).map([1, 2])
left = SharedMemory(create=True, size=1)
os._exit(0)
"""
    assert "1 leaked shared_memory object" in run_python(code).stderr


def test_workers_leave_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that have nothing left to do are not taken for lost, which would take loky a quarter of a second."""
    took: list[float] = []
    leave = Pool.__exit__

    def leaving(self: Pool, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        began = time.perf_counter()
        leave(self, *error)  # type: ignore[arg-type]
        took.append(time.perf_counter() - began)

    monkeypatch.setattr(Pool, "__exit__", leaving)
    while len(took) < 20 and min(took, default=1.0) >= 0.2:  # a busy machine needs more than one attempt
        task(abs, backend="loky").map([1, 2])
    assert min(took) < 0.2
