"""What a DAG file's top level may do to the process: results come all the same, and nothing is left."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_joblib.system import plain_json
from tests.unit.helpers import eventually, run_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TOP_LEVEL = {
    "json": """
import json
json.JSONEncoder.default = json.JSONEncoder.encode = json.dumps = json.loads = lambda *_, **__: 1 / 0
""",
    "clock": """
import time
time.time = time.monotonic = time.perf_counter = lambda: 5.0
time.sleep = lambda _: None
""",
    "socket": "import socket; socket.setdefaulttimeout(0.01)",
    "recursion": "import sys; sys.setrecursionlimit(100_000)",
    "locale": "import locale, os; locale.setlocale(locale.LC_ALL, 'C'); os.environ['LC_ALL'] = 'xx_YY'",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "collection": "import gc; gc.disable()",
    "stack": "import threading; threading.stack_size(1 << 16)",
    "signals": """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.set_wakeup_fd(-1)
""",
    "children": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "reaper": """
import os, signal
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
""",
    "output": "import sys; sys.stdout.close()",
    "no streams": "import sys; sys.stdout = sys.stderr = None",
    "random": "import secrets, random; random.seed(1); secrets.token_hex = lambda _=32: 'ab' * 16",
    "environment": "import os; os.umask(0o077); os.environ.pop('PATH')",
    "start": "import multiprocessing; multiprocessing.set_start_method('spawn', force=True)",
}
#: What can't be had together with others of its kind.
ALL = [name for name in TOP_LEVEL if name not in {"reaper", "no streams"}]

RUN = """
import os
from airflow_joblib import parallel_task

@parallel_task(n_jobs=2, backend="{backend}", batch_size=1, item_retries=1, item_retry_delay=0.01)
def work(item, shared, marks):
    first = not os.access(f"{{marks}}/{{item}}", os.F_OK)
    os.close(os.open(f"{{marks}}/{{item}}", os.O_CREAT))
    if item == 2 and first:
        raise LookupError(item)
    if item == 4 and first:
        os.kill(os.getpid(), 9)
    return item * 2 + len(shared) * 0

{top_level}

if __name__ == "__main__":
    assert work(range(8), shared=b"x" * 3_000_000, marks={marks!r}) == [item * 2 for item in range(8)]
    os.write({told}, b"done")
"""


def run(backend: str, names: list[str], folder: Path) -> None:
    """Run a script with such a top level, and see the results come, and nothing left."""
    marks, files, script, told = folder / "marks", folder / "t", folder / f"{folder.name}.py", folder / "told"
    marks.mkdir()
    files.mkdir()
    with told.open("wb") as file:
        code = RUN.format(
            backend=backend,
            top_level="\n".join(TOP_LEVEL[name] for name in names),
            marks=str(marks),
            told=file.fileno(),
        )
        script.write_text(code)
        environment = {"TMPDIR": str(files), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, check=False, env=environment, pass_fds=[file.fileno()], timeout=60)
    assert (done.returncode, told.read_bytes()) == (0, b"done")
    assert eventually(lambda: not list(files.iterdir()))
    assert eventually(lambda: folder.name not in _command_lines(), 10)


def _command_lines() -> str:
    return subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("backend", ["auto", "loky"])
def test_all_at_once(backend: str, tmp_path: Path) -> None:
    """Results and retries come, a dead worker is replaced, and nothing is left, whatever the top level has done."""
    run(backend, ALL, tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TOP_LEVEL)
@pytest.mark.parametrize("backend", ["auto", "loky"])
def test_one_by_one(backend: str, name: str, tmp_path: Path) -> None:
    """The same with each change alone, which another could hide."""
    run(backend, [name], tmp_path)


def test_json_is_its_own() -> None:
    """What passes between processes is JSON, though the module's functions were replaced before this was imported."""
    code = f"{TOP_LEVEL['json']}\nfrom airflow_joblib.system import plain_json\n"
    code += "print(plain_json.dumps([1, {'a': None}]))"
    assert plain_json.loads(run_python(code).stdout) == [1, {"a": None}]
    assert plain_json.loads(plain_json.dumps({"at": object}, default=str).encode()) == {"at": "<class 'object'>"}
