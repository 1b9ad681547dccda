"""Memory that workers of the task's own user reach, and nobody else; gone with the task, however that ends."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.system import isolation, leftovers, shared_memory
from airflow_joblib.system.shared_memory import SharedMemory, attach
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PR_CAPBSET_DROP = 24

#: A task as Airflow 3.3 starts it: other processes of its user may not look into it.
TASK = """
    import ctypes, os, sys
    from airflow_joblib import parallel_task
    from airflow_joblib.system.shared_memory import SharedMemory

    @parallel_task(n_jobs=2, item_retries=0)
    def work(item, table):
        return item + len(table)

    if __name__ == "__main__":
        assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
        if sys.argv[1] == "work":
            for backend in ("loky", "multiprocessing"):
                print(work.override(backend=backend).map(range(4), table=bytes(3 << 20)))
        else:
            memory = SharedMemory(10, by_path=True)
            print(memory.path, oct(os.stat(memory.path).st_mode & 0o777), flush=True)
            sys.stdin.read()
"""


def without_rights() -> None:
    """Give up for good all that the kernel lets root do, though not its user id, which owns the interpreter's files."""
    prctl = ctypes.CDLL(None).prctl
    for right in range(64):
        prctl(PR_CAPBSET_DROP, right, 0, 0, 0)


@pytest.fixture
def task(tmp_path: Path) -> tuple[list[str], Mapping[str, str]]:
    """The command of a task, and its environment."""
    file = tmp_path / "task.py"
    file.write_text(textwrap.dedent(TASK))
    return [sys.executable, str(file)], {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def test_task_that_others_may_not_look_into(task: tuple[list[str], Mapping[str, str]]) -> None:
    """Its workers get what it shares all the same, without the rights of root."""
    command, environment = task
    done = subprocess.run(
        [*command, "work"], env=environment, capture_output=True, text=True, preexec_fn=without_rights, check=False
    )
    assert done.stdout.splitlines() == [str([item + (3 << 20) for item in range(4)])] * 2, done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.nightly)])
def test_start_methods_in_a_closed_task(method: str, tmp_path: Path) -> None:
    """However multiprocessing starts its workers, they are given the descriptor."""
    file = tmp_path / "task.py"
    file.write_text(
        textwrap.dedent(TASK)
        .replace(
            "assert ctypes", f"import multiprocessing; multiprocessing.set_start_method({method!r}); assert ctypes"
        )
        .replace('("loky", "multiprocessing")', '("multiprocessing",)')
    )
    done = subprocess.run(
        [sys.executable, str(file), "work"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        preexec_fn=without_rights,
        check=False,
    )
    assert done.stdout.splitlines() == [str([item + (3 << 20) for item in range(4)])], done.stderr


@pytest.fixture(params=["memfd", "no memfd", "by path, closed", "by path, no memfd"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedMemory]:
    """Shared memory of each kind."""
    if "no memfd" in request.param:
        monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(isolation, "open_to_others", lambda: "closed" not in request.param)
    with SharedMemory(5, by_path="by path" in request.param) as memory:
        yield memory


def test_is_shared(shared: SharedMemory) -> None:
    """What one writes the other reads."""
    shared.memory[:] = b"hello"
    with attach(shared.path, writable=True) as other:
        assert other[:] == b"hello"
        other[:1] = b"j"
    assert shared.memory[:] == b"jello"
    with attach(shared.path) as other, pytest.raises(TypeError):
        other[:1] = b"x"


def test_only_what_needs_a_path_has_a_name(shared: SharedMemory, request: pytest.FixtureRequest) -> None:
    """A file with a name is there only for workers that can't be given a descriptor, and for this user alone."""
    named = "by path" in request.node.name
    assert (Path(shared.path).exists() and not shared.path.startswith("/proc")) == named
    if named:
        assert Path(shared.path).stat().st_mode & 0o777 == 0o600


def test_is_gone_when_closed(shared: SharedMemory) -> None:
    """Whoever comes later finds nothing."""
    path = shared.path
    shared.close()
    with pytest.raises(OSError, match="No such"):
        attach(path)
    assert not Path(path).exists()
    shared._named = False
    assert isinstance(shared.memory, mmap.mmap)


def test_killed_task(task: tuple[list[str], Mapping[str, str]], tmp_path: Path) -> None:
    """A file that had to have a name is its user's alone; when its task was killed the next run removes it."""
    command, environment = task
    with subprocess.Popen(
        [*command, "hold"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        path, mode = process.stdout.readline().split()
        assert (Path(path).exists(), mode) == (True, "0o600")
        again = [*command, "hold"]
        subprocess.run(again, env=environment, input="", stdout=subprocess.PIPE, text=True, check=True)
        assert Path(path).exists()
        process.kill()
    subprocess.run(again, env=environment, input="", stdout=subprocess.PIPE, text=True, check=True)
    assert eventually(lambda: not Path(path).exists())


@pytest.mark.parametrize("fails", ["mkstemp", "fallocate"])
def test_no_room_anywhere(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder has room the error names each, and what to set."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(isolation, "open_to_others", lambda: False)
    monkeypatch.setattr(shared_memory, "_folder_for", lambda _: tempfile.gettempdir())
    monkeypatch.setattr(*((leftovers, "make_file") if fails == "mkstemp" else (os, "posix_fallocate")), refuse)
    with pytest.raises(OSError, match=r"can't be put into /dev/shm or .* set TMPDIR") as caught:
        SharedMemory(100, by_path=True)
    assert caught.value.errno == errno.ENOSPC
