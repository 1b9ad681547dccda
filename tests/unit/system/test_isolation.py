"""What another task of the same Unix user gets to see of a run, and what is loaded from the current directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib.system import leftovers
from tests.unit.helpers import eventually
from tests.unit.system.test_shared_memory import without_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SECRET = "swordfish-in-the-environment"

#: A task with a secret in its environment, a key that its workers get at their start, and a large shared argument.
TASK = """
    import ctypes, os, sys, time
    from airflow_joblib import parallel_task

    @parallel_task(n_jobs=2, item_retries=0)
    def work(item, table):
        time.sleep(0.5)
        return os.environ["SECRET"], len(table), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

    if __name__ == "__main__":
        if sys.argv[1] == "closed":
            assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
        print("up", flush=True)
        sys.stdin.readline()
        print(work.override(backend=sys.argv[2]).map(range(2), table=b"payload of the task" * 100_000))
"""

#: Another task, which has no more rights, and tries all the time to get at what the first one's processes have.
SPY = """
    import json, os, sys, time
    victim, found = int(sys.argv[1]), set()

    def read(path, size=1 << 16):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(file, size)
        finally:
            os.close(file)

    def look(pid):
        try:
            if b"swordfish" in read(f"/proc/{pid}/environ"):
                found.add("environment")
            if b"swordfish" in read(f"/proc/{pid}/cmdline"):
                found.add("arguments")
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
            if os.path.exists(f"/proc/{pid}/fd/9"):  # before it has more than a line there is nothing in it
                found.add("memory")
        except OSError:
            pass
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{name}"
                target = os.readlink(path)
                pipe = target.startswith("pipe:") and b"tracker" not in read(f"/proc/{pid}/cmdline")  # it tells names
                if int(name) > 2 and (pipe or "airflow-joblib" in target):
                    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                    found.add(target.partition(":")[0])
        except OSError:
            pass

    def family():
        parents = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    parents[int(name)] = int(read(f"/proc/{name}/stat").rpartition(b")")[2].split()[1])
                except OSError:
                    pass
        return [pid for pid, parent in parents.items() if victim in (pid, parent, parents.get(parent))]

    print("ready", flush=True)
    while os.path.exists(f"/proc/{victim}"):
        for pid in family():
            look(pid)
        for name in os.listdir("/dev/shm"):
            try:
                if b"payload of the task" in read(f"/dev/shm/{name}"):
                    found.add("file")
            except OSError:
                pass
        time.sleep(0.001)
    print(json.dumps(sorted(found)))
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with both programs."""
    for name, code in (("task", TASK), ("spy", SPY)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    return tmp_path


def spied(scripts: Path, how: str, backend: str) -> tuple[str, list[str]]:
    """Return what a task has returned, and what another task of its user has seen of it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "SECRET": SECRET}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "preexec_fn": without_rights}
    command = [sys.executable, str(scripts / "task.py"), how, backend]
    with subprocess.Popen(command, env=environment, **pipes) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "up\n"
        with subprocess.Popen([sys.executable, str(scripts / "spy.py"), str(task.pid)], **pipes) as spy:
            assert spy.stdout is not None
            assert spy.stdout.readline() == "ready\n"
            out, _ = task.communicate("\n", 120)
            return out, json.loads(spy.communicate(timeout=60)[0])


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_closed_task(scripts: Path, backend: str) -> None:
    """Of a task that is closed to others nothing can be seen by way of its workers, from their first moment on."""
    out, seen = spied(scripts, "closed", backend)
    assert out == f"{[(SECRET, 1_900_000, 0)] * 2}\n"
    assert seen == []


@pytest.mark.nightly
def test_open_task(scripts: Path) -> None:
    """The spy is no bad one: of a task that is open to others it sees all of that."""
    out, seen = spied(scripts, "open", "loky")
    assert out == f"{[(SECRET, 1_900_000, 1)] * 2}\n"
    assert {"environment", "memory", "pipe"} <= set(seen)


#: Names that what we start imports early, and that an attacker could put into a folder where somebody starts a task.
NAMES = ("signal", "threading", "pickle", "ctypes", "socket", "json", "joblib", "cloudpickle", "argparse", "runpy")
HERE = """
    import multiprocessing, os, sys
    from airflow_joblib import parallel_task

    @parallel_task(n_jobs=2, item_retries=0)
    def work(item):
        return item, os.environ.get("PYTHONSAFEPATH")

    if __name__ == "__main__":
        backend, method = sys.argv[1:]
        if method:
            multiprocessing.set_start_method(method)
        print(work.override(backend=backend).map(range(2)), os.environ.get("PYTHONSAFEPATH"))
"""


@pytest.mark.parametrize(
    ("backend", "method"),
    [
        ("loky", ""),
        ("multiprocessing", "fork"),
        ("multiprocessing", "forkserver"),
        pytest.param("multiprocessing", "spawn", marks=pytest.mark.nightly),
    ],
)
def test_current_directory(backend: str, method: str, tmp_path: Path) -> None:
    """Whatever lies in the current directory, nothing that is started loads it; items' own scripts are left alone."""
    there, script = tmp_path / "there", tmp_path / "task" / "script.py"
    there.mkdir()
    script.parent.mkdir()
    script.write_text(textwrap.dedent(HERE))
    for name in NAMES:
        (there / f"{name}.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'a').write('{name} ')\nraise SystemExit")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, str(script), backend, method],
        cwd=there,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[(0, None), (1, None)] None\n", done.stderr
    assert not (tmp_path / "loaded").exists()


class TestLeftovers:
    """What is left by a task that was killed with all its helpers."""

    @pytest.fixture(autouse=True)
    def _unswept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leftovers, "_swept", set())

    @pytest.fixture
    def owner(self, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        """A process that has a file and a folder."""
        code = (
            "import sys; from airflow_joblib.system import leftovers; place = sys.argv[1]\n"
            "held = leftovers.make_file(place), leftovers.make_folder(place)\n"
            "open(held[1][1] + '/socket', 'w').close(); print('ready', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
            process.kill()

    def test_what_somebody_has_stays(self, owner: subprocess.Popen[str], tmp_path: Path) -> None:
        """What a living process has stays; what nobody has goes when the next run makes something there."""
        before = set(tmp_path.iterdir())
        assert len(before) == 2
        leftovers.sweep(str(tmp_path))
        assert set(tmp_path.iterdir()) == before
        owner.kill()
        owner.wait()
        file, path = leftovers.make_file(str(tmp_path))
        assert set(tmp_path.iterdir()) == {Path(path)}
        os.close(file)

    def test_others_are_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is another user's, or a link, or has another name, is not touched."""
        (tmp_path / "airflow-joblib-other").mkdir()
        target = tmp_path / "target"
        target.touch()
        (tmp_path / f"{leftovers.PREFIX}link").symlink_to(target)
        leftovers.sweep(str(tmp_path))
        assert len(list(tmp_path.iterdir())) == 3
        (tmp_path / f"{leftovers.PREFIX}x").touch()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        leftovers.sweep(str(tmp_path))
        assert len(list(tmp_path.iterdir())) == 4

    def test_swept_before_it_is_locked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who finds a file before its maker has locked it makes that one make another."""
        lock, times = leftovers._locked, []

        def late(file: int) -> bool:
            times.append(file)
            if len(times) == 1:
                leftovers.sweep(str(tmp_path))
            return lock(file)

        monkeypatch.setattr(leftovers, "_locked", late)
        for make in (leftovers.make_file, leftovers.make_folder):
            times.clear()
            file, path = make(str(tmp_path))
            assert len(times) == 2
            assert Path(path).exists()
            os.close(file)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_killed_group(backend: str, tmp_path: Path) -> None:
    """A kill of a task's whole process group leaves no process, no file and no folder of the run."""
    code = f"""
import os, signal, sys
from airflow_joblib import parallel_task
from airflow_joblib.taskflow.relay.server import Relay

@parallel_task(n_jobs=2, backend={backend!r})
def work(item, table):
    if item == 3:
        os.killpg(0, signal.SIGKILL)

if __name__ == "__main__":
    with Relay(bytes, print):
        work.map(range(4), table=bytes(3 << 20))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    assert process.wait(120) == -9
    shared, mark = Path("/dev/shm"), str(script)
    assert eventually(lambda: not list((tmp_path / "tmp").iterdir()))
    assert eventually(lambda: not list(shared.glob(f"*{process.pid}*")))
    assert eventually(lambda: not [one for one in psutil.process_iter(["cmdline"]) if mark in str(one.info["cmdline"])])
