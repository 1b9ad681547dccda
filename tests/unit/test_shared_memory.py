"""Memory that workers of the task's own user reach, and nobody else; gone with the task, however that ends."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PR_CAPBSET_DROP = 24

#: A task as Airflow 3.3 starts it: other processes of its user may not look into it.
TASK = """
    import ctypes, os, sys
    from airflow_joblib import parallel_task
    from airflow_joblib.shared_memory import SharedMemory

    @parallel_task(n_jobs=2, item_retries=0)
    def work(item, table):
        return item + len(table)

    if __name__ == "__main__":
        assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
        if sys.argv[1] == "work":
            for backend in ("loky", "multiprocessing"):
                print(work.override(backend=backend).map(range(4), table=bytes(3 << 20)))
        else:
            memory = SharedMemory(10)
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


def test_killed_task(task: tuple[list[str], Mapping[str, str]]) -> None:
    """A file that had to have a name is its user's alone, and gone with a task that is killed."""
    command, environment = task
    with subprocess.Popen(
        [*command, "hold"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        path, mode = process.stdout.readline().split()
        assert (Path(path).exists(), mode) == (True, "0o600")
        process.kill()
    assert eventually(lambda: not Path(path).exists())
