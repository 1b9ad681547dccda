"""What runs share with their workers: large arguments once, read-only, and nothing of it is left.

Apart from :file:`test_shared_pickle.py`, since fresh workers import this module, and not what tests of values need.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from airflow_joblib import parallel_task
from tests.unit.helpers import ONE_WORKER, PROCESSES, eventually, run_python, task
from tests.unit.wire.helpers import files

processes = pytest.mark.parametrize("backend", PROCESSES)


def descriptors() -> set[str]:
    return {os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}  # noqa: PTH115


def shared_array(item: int, array: Any) -> tuple[bool, float, int]:
    return array.flags.writeable, float(array[item]), os.getpid()


@processes
def test_workers_write_to_it(tmp_path: Path, backend: str) -> None:
    """What workers write to an array mapped for writing lands in the file."""
    file = tmp_path / "array"
    np.arange(100.0).tofile(file)
    out: Any = np.memmap(file, mode="r+", dtype=float)

    def write(item: int, out: Any) -> None:
        out[item] = -item

    task(write, backend=backend, **ONE_WORKER)(range(100), out)
    assert (np.fromfile(file) == -np.arange(100.0)).all()


class TestRun:
    """A whole run."""

    @processes
    def test_arrays_are_shared(self, backend: str) -> None:
        """A large shared argument is read-only in fresh workers, on demand their own; a fork always has its own."""
        array = np.arange(300_000.0)
        work = task(shared_array, backend=backend, **ONE_WORKER)
        forked = backend == "multiprocessing"
        assert [one[:2] for one in work(range(4), array)] == [(forked, float(item)) for item in range(4)]
        own = work.override(backend_options={"max_nbytes": None})
        assert [one[:2] for one in own(range(4), array)] == [(True, float(item)) for item in range(4)]

    @pytest.mark.parametrize(
        ("backend", "fails"),
        [
            ("loky", False),
            pytest.param("loky", True, marks=pytest.mark.nightly),
            ("multiprocessing", False),
            ("multiprocessing", True),
        ],
    )
    def test_leaves_nothing(self, backend: str, fails: bool) -> None:
        """After a run, failed or not, there is no descriptor, no mapping and no file of what was shared."""

        def item_of(item: int, array: Any) -> float:
            if fails:
                raise LookupError(item)
            return float(array[item])

        work = task(item_of, backend=backend)

        before = files()
        with pytest.raises(LookupError) if fails else nullcontext():
            work(range(4), np.ones(300_000))
        assert not [name for name in descriptors() if "airflow-joblib" in name]
        assert not files() - before
        assert "airflow-joblib" not in Path("/proc/self/maps").read_text()

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.nightly)])
    def test_start_methods(self, method: str) -> None:
        """A shared array reaches workers whatever start method is set: where that is no fork they are fresh ones."""
        code = f"""
import multiprocessing, numpy
from airflow_joblib import parallel_task
@parallel_task(n_jobs=2, backend="multiprocessing")
def at(item, array): return array.flags.writeable, float(array[item])
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    print(at(range(3), numpy.arange(300_000.)))
"""
        own = method == "fork"
        assert run_python(code).stdout.strip() == f"[({own}, 0.0), ({own}, 1.0), ({own}, 2.0)]"

    @pytest.mark.slow
    @processes
    def test_one_copy_for_all_workers(self, backend: str) -> None:
        """Two workers that read all of a 50 MB array need under 1.2 times its memory more than the task has."""
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            run = parallel_task(n_jobs=2, backend=backend, batch_size=1)(together)
            without = max(run(range(2), np.ones(1), Path(one)))
            array = np.ones(50 * 10**6, "u1")
            extra = max(run(range(2), array, Path(other))) - array.nbytes - without
        assert extra < 1.2 * array.nbytes


def together(item: int, array: Any, folder: Path) -> int:
    """Return the memory of the whole family when both workers have read the array."""
    assert array.sum() == array.size
    (folder / str(item)).touch()
    assert eventually(lambda: len(list(folder.iterdir())) >= 2, 20)
    task = psutil.Process(os.getppid())
    total = sum(one.memory_full_info().pss for one in [task, *task.children(recursive=True)])
    (folder / f"{item} done").touch()
    assert eventually(lambda: len(list(folder.iterdir())) >= 4, 20)
    return total


@pytest.mark.slow
def test_nothing_is_printed_where_a_pickle_is_collected() -> None:
    """A run whose items or arguments can't be sent leaves nothing that Python complains of when it is collected."""
    code = """
import gc, threading
from airflow_joblib import parallel_task
def two(item, shared=None):
    return item
large = bytearray(1 << 22)
for items, shared in ([1, threading.Lock()], None), ([1, 2], threading.Lock()), ([1, 2], large), (range(50), 1):
    try:
        parallel_task(n_jobs=2, backend="loky", batch_size=1000, item_timeout=100)(two).map(items, shared)
    except TypeError as error:
        error.loop = error
        print(type(error).__name__)
        del error
    gc.collect()
"""
    done = run_python(code)
    assert done.stdout.split() == ["NotPicklableError"] * 2
    assert "xception ignored" not in done.stderr
    assert "exported buffers" not in done.stderr
