"""Real clusters on loopback: Dask over TLS, Ray with a token, Spark with a secret; each with two workers or one.

::

with dask_cluster(folder) as cluster ──► a scheduler and two workers, each a process ──► cluster.options
                                exit ──► SIGTERM ──► what is left after a while: SIGKILL

The workers' environment and folder show them the installed packages and nothing else: no DAG, no test.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.certificates import make_certificates
from tests.harness.processes import describe, kill_all, marked
from tests.harness.settings import MARKER, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import psutil

__all__ = ["ENGINES", "Cluster", "ClusterError", "dask_cluster", "ray_cluster", "running", "spark_cluster"]

#: Bytes of shared memory for one Ray node: the least that Ray takes.
_OBJECT_STORE = 80 << 20
#: What the processes of workers, or their nodes, are called.
_NAMES = ("first", "second")


class ClusterError(RuntimeError):
    """A cluster didn't come up; the message has the tail of its logs."""


class Cluster:
    """The processes of one cluster.

    Attributes:
        options: What to give as ``backend_options`` to use it.
        folder: Its own folder, for its logs and whatever it writes.
        folders: Every folder that it writes to.
        inside: The address for one of its own nodes, where that is another.
        marker: What all its processes have in their environment.
        killed: After the exit, what did not stop when asked to, in words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = [folder]
        self.inside = ""
        self.options: dict[str, Any] = {}
        self.killed: tuple[str, ...] = ()
        self.marker = secrets.token_hex(8)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "nothing").mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a process of the cluster, which logs to a file of that name."""
        inherited = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR", "JAVA_HOME") if key in os.environ}
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        ours = {"PATH": path, MARKER: self.marker, "PYTHONUNBUFFERED": "1"}
        ours["SPT_NOENV"] = "1"  # Dask and Ray rename their processes; without this that overwrites the marker
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                env={**inherited, **ours, **environment},
                cwd=self.folder / "nothing",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, ready: Callable[[], object], what: str, timeout: float = 120) -> None:
        """Wait until *ready*; the end of a process ends the wait."""
        until = time.monotonic() + timeout
        while not ready():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > until:
                reason = f"{ended[0]} ended" if ended else f"waited {timeout:.0f} s"
                raise ClusterError(f"No {what}: {reason}.\n{self.tails()}")
            time.sleep(0.1)

    def logged(self, name: str, text: str) -> bool:
        """Return whether a process has logged *text*."""
        return text in (self.folder / f"{name}.log").read_text(errors="replace")

    def tails(self, lines: int = 15) -> str:
        """Return the last lines that each process logged."""
        logs = {file.name: file.read_text(errors="replace").splitlines() for file in self.folder.glob("*.log")}
        return "\n\n".join("\n".join([f"{name}:", *text[-lines:]]) for name, text in logs.items())

    def pid(self, name: str) -> int:
        """Return the process id of what was started by that name."""
        return self._processes[name].pid

    def processes(self) -> list[psutil.Process]:
        """Return every living process of the cluster, however deep below, orphans included."""
        return marked(self.marker)

    def stop(self, timeout: float = 30) -> None:
        """Ask the processes to end, the workers before what they would report to, then kill what is left."""
        until = time.monotonic() + timeout
        processes = list(self._processes.values())
        for group in (processes[1:], processes[:1]):
            for process in reversed(group):
                process.terminate()
            while any(process.poll() is None for process in group) and time.monotonic() < until:
                time.sleep(0.1)
        while self.processes() and time.monotonic() < until:
            time.sleep(0.1)
        left = self.processes()
        self.killed = tuple(map(describe, left))
        kill_all(left)
        for process in self._processes.values():
            process.wait(5)


@contextmanager
def _started(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()


def _listening(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def dask_cluster(folder: Path, *, closed: bool = True, workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """Run a Dask scheduler and worker processes of one thread each, all of which speak TLS only.

    Args:
        folder: For its files.
        closed: Whether it asks who somebody is; else it speaks no TLS.
        workers: How many workers it has, at most two.
        **environment: Environment variables of the workers.
    """
    files = make_certificates(folder / "tls")
    tls: tuple[str, ...] = (
        "--tls-ca-file",
        files.authority,
        "--tls-cert",
        files.certificate,
        "--tls-key",
        files.key,
        "--no-dashboard",
    )
    protocol, tls = ("tls", tls) if closed else ("tcp", tls[-1:])
    port = free_port()
    address = f"{protocol}://127.0.0.1:{port}"
    program = (sys.executable, "-m", "distributed.cli.dask_{}")
    with _started(folder) as cluster:
        scheduler = [part.format("scheduler") for part in program]
        cluster.start("scheduler", *scheduler, "--protocol", protocol, "--host", "127.0.0.1", "--port", str(port), *tls)
        worker = [part.format("worker") for part in program]
        for name in _NAMES[:workers]:
            local = ("--nthreads", "1", "--host", f"{protocol}://127.0.0.1", "--local-directory", str(folder / name))
            cluster.start(name, *worker, address, *tls, *local, "--name", name, "--memory-limit", "0", **environment)
        for name in _NAMES[:workers]:
            cluster.wait(lambda name=name: cluster.logged(name, "Registered to"), f"Dask worker {name}")  # type: ignore[misc]
        proof = {
            "tls_ca_file": files.authority,
            "tls_client_cert": files.certificate,
            "tls_client_key": files.key,
        }
        cluster.options = {"address": address, **(proof if closed else {})}
        yield cluster


@contextmanager
def ray_cluster(
    folder: Path, *, closed: bool = True, workers: int = 2, memory: int = _OBJECT_STORE, **environment: str
) -> Iterator[Cluster]:
    """Run a Ray head without CPUs and worker nodes with one CPU each, for whoever has the token.

    Args:
        folder: For its files.
        closed: Whether it asks for the token.
        workers: How many worker nodes it has, at most two.
        memory: Bytes of the object store of each node.
        **environment: Environment variables of the nodes, the head's not among them.
    """
    port, client_port = free_port(), free_port()
    token = secrets.token_hex(32)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(token)
    ours = {"RAY_raylet_start_wait_time_s": "120", "RAY_worker_niceness": "0"}  # else all other processes come first
    if closed:
        ours |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    ray = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
    # Of 127.0.0.1 Ray would make the address of a network card, so that the cluster could be seen from outside.
    places = {name: f"127.0.0.{number}" for number, name in enumerate(("head", *_NAMES), 2)}
    size = ("--object-store-memory", str(memory), "--node-ip-address")
    sessions = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets' paths would be too long elsewhere
    try:
        with _started(folder) as cluster:
            cluster.folders.append(Path(sessions))
            head = ("--head", "--port", str(port), "--ray-client-server-port", str(client_port), "--num-cpus", "0")
            quiet = ("--include-dashboard", "false", "--temp-dir", sessions)
            cluster.start("head", *ray, *size, places["head"], *head, *quiet, **ours)
            cluster.wait(lambda: cluster.logged("head", "Ray runtime started"), "Ray head")
            node = ("--address", f"{places['head']}:{port}", "--num-cpus", "1")
            for name in _NAMES[:workers]:  # one after another: of two that start at a time one may hang
                cluster.start(name, *ray, *size, places[name], *node, **{**ours, **environment})
                cluster.wait(lambda name=name: cluster.logged(name, "Ray runtime started"), f"Ray node {name}")  # type: ignore[misc]
            cluster.wait(lambda: _listening(client_port, places["head"]), "Ray client server")
            proof = {"token": token} if closed else {}
            cluster.options = {"address": f"ray://{places['head']}:{client_port}", **proof}
            cluster.inside = f"{places['head']}:{port}"
            yield cluster
    finally:
        shutil.rmtree(sessions, ignore_errors=True)


@contextmanager
def spark_cluster(folder: Path, *, closed: bool = True, workers: int = 2) -> Iterator[Cluster]:
    """Run a Spark standalone master and workers of one core each, for whoever has the secret.

    Args:
        folder: For its files.
        closed: Whether it asks for the secret.
        workers: How many workers it has, at most two.
    """
    import pyspark

    home = Path(pyspark.__file__).parent
    secret = secrets.token_hex(32)
    for name in ("conf", "local"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    defaults = folder / "conf" / "spark-defaults.conf"
    defaults.touch(mode=0o600)
    defaults.write_text(f"spark.authenticate true\nspark.authenticate.secret {secret}\n" if closed else "")
    environment = {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(folder / "work"),
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_DAEMON_MEMORY": "256m",
        # Java that ends soon: to compile it well costs more than it saves.
        **dict.fromkeys(("SPARK_DAEMON_JAVA_OPTS", "SPARK_LAUNCHER_OPTS"), "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"),
    }
    port = free_port()
    program = (str(home / "bin" / "spark-class"), "org.apache.spark.deploy.{}")
    with _started(folder) as cluster:
        place = ("--host", "127.0.0.1", "--port", str(port), "--webui-port", "0")
        cluster.start("master", *(part.format("master.Master") for part in program), *place, **environment)
        cluster.wait(lambda: _listening(port), "Spark master")
        for name in _NAMES[:workers]:
            size = ("--cores", "1", "--memory", "600m", "--host", "127.0.0.1", "--webui-port", "0")
            worker = [part.format("worker.Worker") for part in program]
            cluster.start(name, *worker, *size, f"spark://127.0.0.1:{port}", **environment)
        for name in _NAMES[:workers]:
            cluster.wait(lambda name=name: cluster.logged(name, "Successfully registered"), f"Spark worker {name}")  # type: ignore[misc]
        conf = {
            "spark.executor.memory": "512m",
            "spark.cores.max": str(workers),  # else a run waits to see whether more executors come
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
        }
        proof = {"secret": secret} if closed else {}
        cluster.options = {"address": f"spark://127.0.0.1:{port}", **proof, "conf": conf}
        yield cluster


ENGINES: dict[str, Callable[..., AbstractContextManager[Cluster]]] = {
    "dask": dask_cluster,
    "ray": ray_cluster,
    "spark": spark_cluster,
}


@contextmanager
def running(engine: str, folder: Path) -> Iterator[Cluster]:
    """Run a cluster of an engine, which must end when told to."""
    with ENGINES[engine](folder) as cluster:
        yield cluster
    assert not cluster.killed
