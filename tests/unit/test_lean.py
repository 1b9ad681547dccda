"""loky's processes without what they don't need."""

from __future__ import annotations

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
    if "joblib" in str(child.cmdline()):
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
        "import threading; thread = threading.Thread(target=__import__, args=('joblib.memory',)); thread.start()",
    ],
)
def test_joblib_when_asked_for(statement: str) -> None:
    """An item that imports joblib, in whatever way, has all of it, and the threads that joblib gives nested calls."""
    rows = run_python(NESTED.replace("IMPORT", statement)).stdout.splitlines()
    assert [row.rpartition(" ")[0] for row in rows] == [f"ThreadingBackend 1 [{n}, 2]" for n in range(1, 7)]
    assert "False" in rows[0]


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
