"""loky's processes without what they don't need."""

from __future__ import annotations

import re
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import airflow_joblib
from airflow_joblib.pool import Pool
from tests.unit.helpers import eventually, run_python, task

if TYPE_CHECKING:
    from types import TracebackType

pytestmark = pytest.mark.slow

RUN = """
import sys
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky")
def loaded(item):
    import sys
    return [name for name in ("joblib.parallel", "numpy") if name in sys.modules]
if __name__ == "__main__":
    assert "joblib" not in sys.modules
    print(loaded([1, 2]))
"""


def test_workers_load_little() -> None:
    """A worker of loky loads neither joblib's own modules nor NumPy where its items don't."""
    assert run_python(RUN).stdout.strip() == "[[], []]"


def test_tracker_loads_little() -> None:
    """Loky's tracker has none of NumPy's libraries: it would load them while the workers start."""
    code = """
import psutil
for child in psutil.Process().children():
    if "'loky'" in str(child.cmdline()):
        print("numpy" in str(child.memory_maps()))
"""
    assert run_python(RUN + code).stdout.split()[2:] == ["False"]


UNKNOWN = {
    "another process": """
from joblib.externals.loky.backend import context, process
class Other(process.LokyProcess):
    pass
context.LokyContext.Process = Other
""",
    "no way for reducers": """
from joblib.externals.loky import process_executor
class Other(process_executor.SimpleQueue):
    _reducers = property(lambda self: None, lambda self, value: None)
process_executor.SimpleQueue = Other
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


@pytest.mark.parametrize("change", UNKNOWN)
def test_unknown_loky(change: str, tmp_path: Path) -> None:
    """Where loky's inner parts are others than is known, the run is the same, with workers as loky starts them."""
    script = tmp_path / "script.py"
    script.write_text(UNKNOWN[change] + RUN.replace('    assert "joblib" not in sys.modules\n', ""))
    out = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')").stdout
    assert out.count("joblib.parallel") == (0 if change == "another tracker" else 2)
    assert out.count("[") == 3


def test_out_of_reach(tmp_path: Path) -> None:
    """A package that only this process has on its search path is not what a new interpreter is told to run."""
    source = Path(airflow_joblib.__file__).parent
    shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    out = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r})" + RUN).stdout
    assert "joblib.parallel" in out


NESTED = """
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="loky", batch_size=1)
def nested(item):
    import sys
    before = "joblib.parallel" in sys.modules
    IMPORT
    from joblib.parallel import get_active_backend
    from joblib import Parallel, delayed
    backend, _ = get_active_backend()
    values = Parallel(n_jobs=2)(delayed(abs)(n) for n in (-item, 2))
    return type(backend).__name__, backend.nesting_level, values, before
if __name__ == "__main__":
    for row in nested([1, 2, 3, 4, 5, 6]):
        print(*row)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import joblib; joblib.__version__",
        "from joblib import Memory",
        "import joblib.parallel",
        "from joblib.externals.loky import get_reusable_executor",
        "import joblib.externals.loky as loky; loky.cpu_count()",
        "import joblib.memory",
    ],
)
def test_joblib_when_asked_for(statement: str) -> None:
    """An item that imports joblib, in whatever way, has all of it, and the threads that joblib gives nested calls."""
    rows = run_python(NESTED.replace("IMPORT", statement)).stdout.splitlines()
    assert [row.rpartition(" ")[0] for row in rows] == [f"ThreadingBackend 1 [{n}, 2]" for n in range(1, 7)]
    assert "False" in rows[0]


EVERY = """
import importlib, inspect, os, pkgutil, sys, traceback
from airflow_joblib.lean.late import put_off
put_off("joblib")
import joblib.externals.loky.process_executor
assert "joblib.memory" not in sys.modules
home = os.path.dirname(sys.modules["joblib"].__file__)
skipped = "joblib.test", "joblib.externals.loky.backend.stdlib"
found = [module.name for module in pkgutil.walk_packages([home], "joblib.")]
names = [name for name in found if not name.startswith(skipped) and "win" not in name]

def check(statement):
    space = {}
    exec(statement, space)
    joblib = sys.modules["joblib"]
    from joblib import Memory, Parallel, delayed
    assert joblib.Parallel is Parallel is sys.modules["joblib.parallel"].Parallel
    assert joblib.Memory is Memory is sys.modules["joblib.memory"].Memory
    assert "__getattr__" not in vars(joblib)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "joblib":
            assert module.__spec__.loader.__class__.__name__ == "SourceFileLoader", name
            for each in vars(module).values():
                if inspect.isclass(each) and each.__module__ in sys.modules and each.__module__.startswith("joblib."):
                    assert getattr(sys.modules[each.__module__], each.__name__, each) is each, each
            parent, _, last = name.rpartition(".")
            assert not parent or getattr(sys.modules[parent], last) is module, name

def statements():
    for name in names:
        parent, _, last = name.rpartition(".")
        yield f"import {name}"
        yield f"from {parent} import {last}"
        yield f"from {name} import *"
    yield from ("import joblib; joblib.dump", "import joblib; joblib.parallel.Parallel", "from joblib import *")

failed = []
for statement in statements():
    child = os.fork()
    if not child:
        try:
            check(statement)
        except BaseException:
            print(statement, traceback.format_exc(limit=-2), flush=True)
        os._exit(0)
    os.wait()
print("checked", len(names))
"""


def test_every_module_of_joblib() -> None:
    """Whatever part of joblib a worker imports first, in whatever way, it has all of it, and each part once."""
    lines = run_python(EVERY).stdout.splitlines()
    assert len(lines) == 1, lines
    assert int(lines[0].split()[1]) > 30


THREADS = """
import sys, threading
from airflow_joblib.lean.late import put_off
put_off("joblib")
import joblib.externals.loky.process_executor
sys.setswitchinterval(1e-6)
statements = "from joblib import Memory", "import joblib; joblib.hash", "import joblib.disk", "import joblib.memory"
statements = statements[:KINDS]
threads = [threading.Thread(target=exec, args=(each, {}), daemon=True) for each in statements * 4]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
print([thread.is_alive() for thread in threads].count(True))
"""


@pytest.mark.parametrize("kinds", [2, 4])
def test_threads_that_ask_at_once(kinds: int) -> None:
    """Threads that import joblib at the same moment all have it, and no thread waits for another for ever.

    Where they import different parts of it, one may see another half loaded, as without this library.
    """
    done = run_python(THREADS.replace("KINDS", str(kinds)))
    assert done.stdout.strip() == "0"
    assert kinds == 4 or not done.stderr


def test_nested_processes() -> None:
    """An item can use processes of loky by itself."""
    code = NESTED.replace("Parallel(n_jobs=2)", 'Parallel(n_jobs=2, backend="loky")').replace("IMPORT", "pass")
    assert "[1, 2]" in run_python(code).stdout


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
        ("fails", "", "LookupError"),
        ("timeout", "", "ItemTimeoutError"),
        ("worker killed", "", "WorkerLostError"),
        ("SIGTERM", HANDLED, "SystemExit"),
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
parallel_task(n_jobs=2, backend="loky")(abs).map([1, 2])
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
