"""A platform that lacks what Linux has, as macOS does: no memory without a name, no word of the kernel on processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Run by every interpreter as it starts, in the place of the site's own. What psutil does without /proc there, it does
#: with it here, so that it alone may read that.
CUSTOMIZE = """
    import ctypes, errno, os, socket, sys, sysconfig
    import psutil  # chooses its platform as it is imported

    sysconfig.get_config_vars()  # reads a file named after the platform
    sys.platform = "darwin"
    for where, name in ((os, "memfd_create"), (os, "sched_getaffinity"), (os, "pidfd_open"), (socket, "SO_PEERCRED")):
        if hasattr(where, name):
            delattr(where, name)

    class Library(ctypes.CDLL):
        def __getattr__(self, name):
            if name == "prctl":
                raise AttributeError(name)
            return super().__getattr__(name)

    ctypes.CDLL = Library

    def refuse(path):
        if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsencode(path).startswith(b"/proc"):
            return
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("psutil"):
                return
            frame = frame.f_back
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    def audit(event, args):
        if event in ("open", "os.listdir", "os.scandir"):
            refuse(args[0])

    sys.addaudithook(audit)
    for name in ("stat", "lstat", "readlink", "access"):
        def asked(path, *args, before=getattr(os, name), **kwargs):
            refuse(path)
            return before(path, *args, **kwargs)
        setattr(os, name, asked)

    class Socket(socket.socket):
        def shutdown(self, how):
            if self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(errno.ENOTCONN, "Socket is not connected")
            super().shutdown(how)

        def bind(self, address):
            if self.family == socket.AF_UNIX and len(os.fsencode(address)) > 103:
                raise OSError("AF_UNIX path too long")
            super().bind(address)

    socket.socket = Socket
"""
SCRIPT = """
    import multiprocessing, sys, time
    from airflow_joblib import parallel_task
    from airflow_joblib.taskflow.relay import framing as line
    from airflow_joblib.taskflow.logs.sender import Sender
    from airflow_joblib.taskflow.relay.server import Relay

    @parallel_task(n_jobs=2, item_retries=0)
    def work(item, table, where):
        if item == 0:
            line.connect(*where).close()
            assert Sender(*where).send(b"logged\\n")
        return item + len(table)

    if __name__ == "__main__":
        backend, method = sys.argv[1:]
        taken = []
        if method:
            multiprocessing.set_start_method(method)
        with Relay(bytes, lambda _, said: taken.append(said)) as relay:
            with line.connect(relay.address, relay.key):
                print(work.override(backend=backend).map(range(4), bytes(3 << 20), (relay.address, relay.key)))
                began = time.monotonic()
        print(time.monotonic() - began < 2.5, taken)
"""


@pytest.mark.parametrize(
    ("backend", "method"),
    [
        ("auto", ""),
        ("loky", ""),
        ("multiprocessing", "fork"),
        ("threading", ""),
        pytest.param("multiprocessing", "spawn", marks=pytest.mark.nightly),
    ],
)
def test_without_what_linux_has(backend: str, method: str, tmp_path: Path) -> None:
    """A fan-out works there, its workers reach the task, it ends at once, and nothing of it is left."""
    for name, code in (("sitecustomize", CUSTOMIZE), ("script", SCRIPT)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TMPDIR": str(folder), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), backend, method],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.stdout.splitlines() == [str([item + (3 << 20) for item in range(4)]), "True [b'logged', None]"], (
        done.stderr
    )
    assert not [path for path in folder.iterdir() if path.name.startswith("airflow-joblib")]
