"""Spark's driver and its workers: what is refused before anything runs, and what others could see of a run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ClusterError, parallel_task
from airflow_joblib.clusters.engine_internals import java_as_known
from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import MARKS, SECRET, SLOW, While, on, wait_until, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.clusters import Cluster

pytestmark = [*MARKS, on("spark")]


@parallel_task(n_jobs=2, backend="spark")
def where(item: int) -> tuple[int, int]:
    return item, os.getpid()


def refused(options: dict[str, Any], message: str) -> None:
    """Expect that nothing runs with such options, and that the error says why; no process stays."""
    with pytest.raises(ClusterError, match=message):
        where.override(backend_options=options)(range(3))
    until = time.monotonic() + 5
    while drivers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not drivers()


def drivers() -> list[psutil.Process]:
    """Return the Java processes that are children of this one."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "SparkSubmit" in " ".join(child.cmdline())]


def test_no_java(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Java the error says what to install."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    refused({}, "needs Java, .* Nothing has run.* apt-get install openjdk-17")
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused({}, "needs Java")


def test_java_that_does_not_start(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Java says when it ends at once is in the error."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'Error: no room for anything' >&2\nexit 3\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    refused({}, "ended as it started: Error: no room for anything")


def test_another_secret(cluster: Cluster, engine: str) -> None:
    """A wrong secret gets nobody in."""
    refused({**cluster.options, "secret": "0" * 64, "timeout": 3}, "No spark cluster answered .* another `secret`")


def test_no_room(cluster: Cluster, engine: str) -> None:
    """A cluster without room for an executor is an error after the time given, with what can be done."""
    conf = {**cluster.options["conf"], "spark.executor.memory": "900g"}
    refused({**cluster.options, "conf": conf, "timeout": 3}, "no worker with a free core and memory .*start-worker.sh")


def test_no_python(cluster: Cluster, engine: str) -> None:
    """Workers that have no Python where the task has it are an error that says how to name theirs."""
    refused({**cluster.options, "python": "/no/such/python"}, r"no Python at /no/such/python.*'python': ")


#: Has an interpreter say that it is another version.
OTHER_PYTHON = """
import sys
from collections import namedtuple

ours = sys.version_info
sys.version_info = namedtuple("version_info", "major minor micro releaselevel serial")(3, ours.minor - 1, *ours[2:])
"""


def test_another_python(cluster: Cluster, engine: str, tmp_path: Path) -> None:
    """Workers with another minor version of Python are refused."""
    (tmp_path / "sitecustomize.py").write_text(OTHER_PYTHON)
    conf = {**cluster.options["conf"], "spark.executorEnv.PYTHONPATH": str(tmp_path)}
    message = rf"has python 3\.{sys.version_info.minor - 1}.*, the task has .* Start the workers with"
    refused({**cluster.options, "conf": conf}, message)


def test_another_cloudpickle(cluster: Cluster, engine: str, tmp_path: Path) -> None:
    """A worker whose cloudpickle is another version is refused."""
    metadata = tmp_path / "cloudpickle-0.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: cloudpickle\nVersion: 0.1\n")
    conf = {**cluster.options["conf"], "spark.executorEnv.PYTHONPATH": str(tmp_path)}
    message = r"has cloudpickle 0\.1, the task has .*pip install 'cloudpickle=="
    refused({**cluster.options, "conf": conf}, message)


def files_with(text: str, *folders: Path) -> list[Path]:
    """Return the files below folders that hold a text."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if text.encode() in file.read_bytes()]


def test_what_others_see(cluster: Cluster, source: Callable[[str], Any], tmp_path: Path, engine: str) -> None:
    """While items run no secret is in an argument, in the environment of the task's side or in a file; nor after."""
    items, temporary = tmp_path / "items", tmp_path / "temporary"
    items.mkdir()
    temporary.mkdir()
    secret = cluster.options["secret"]
    found: list[Any] = []

    def look(_: list[int]) -> None:
        (driver,) = drivers()
        everybody = [*psutil.Process().children(recursive=True), *cluster.processes()]
        lines = [line.read_bytes() for each in everybody if (line := Path(f"/proc/{each.pid}/cmdline")).exists()]
        for name in (secret, SECRET):
            found.extend(line for line in lines if name.encode() in line)
            found.extend(path for path in files_with(name, temporary, cluster.folder / "local"))
        found.extend(text for text in driver.environ().values() if secret in text)
        found.extend(folder for folder in temporary.iterdir() if folder.stat().st_mode & 0o077)
        inherited = [link.readlink() for link in Path(f"/proc/{driver.pid}/fd").iterdir()]
        found.extend(link for link in inherited if link == Path(f"/proc/self/fd/{ours.fileno()}").readlink())
        found.append("looked")

    with pytest.MonkeyPatch.context() as patch, socket.socket() as ours:
        os.set_inheritable(ours.fileno(), True)
        patch.setattr("tempfile.tempdir", str(temporary))
        module = source(f"SECONDS = 5\n{SLOW}")
        with While(items, look):
            module.work(range(2), folder=str(items), secret=SECRET)
    assert found == ["looked"]
    assert not list(temporary.iterdir())
    assert not drivers()
    assert not files_with(SECRET, cluster.folder)
    wait_until(lambda: not any(map(psutil.pid_exists, workers_of(items))), 20)


def test_what_the_task_keeps(cluster: Cluster, engine: str) -> None:
    """After a run the task's process is as it was: its environment, its path, its threads."""
    path, environment = list(sys.path), dict(os.environ)
    with connected("spark", cluster.options, 2) as connection:
        assert connection.slots == 2
    assert (sys.path, dict(os.environ)) == (path, environment)
    wait_until(lambda: not [thread.name for thread in threading.enumerate() if "Spark" in thread.name], 10)


OWN_SESSION = """
import gc, sys, os
from pathlib import Path
from pyspark.sql import SparkSession
from airflow_joblib import parallel_task, WorkerLostError

folder = Path(sys.argv[1])
session = SparkSession.builder.master("local[2, 4]").config("spark.ui.enabled", "false").getOrCreate()
session.sparkContext.setLogLevel("OFF")

@parallel_task(backend="spark", n_jobs=2)
def work(item, secret):
    from airflow_joblib.clusters import worker as remote
    return len(remote._runs), gc.get_freeze_count() > 1000  # some are frozen from the start

@parallel_task(backend="spark", n_jobs=2, batch_size=1)
def kill(item):
    Path(folder, f"{item}.{os.getpid()}").touch()
    if item == 1:
        os.kill(os.getpid(), 9)

for _ in range(2):
    assert set(work(range(20), secret="a-secret")) == {(1, False), (1, True)}
    workers = session.sparkContext.parallelize(range(2), 2)
    assert workers.map(lambda _: gc.get_freeze_count() > 1000).collect() == [False, False]
try:
    kill([0, 1])
except WorkerLostError as lost:
    assert lost.index == 1, lost
else:
    raise AssertionError
assert len(list(folder.glob("1.*"))) == 2, list(folder.iterdir())
assert session.range(5).count() == 5
left = [file for file in Path(session.sparkContext._temp_dir).rglob("*") if b"a-secret" in file.read_bytes()]
assert not left, left
print("all is well")
"""


def test_session_of_the_task(engine: str, tmp_path: Path) -> None:
    """A session that the task has opened is used and stays open, and no run leaves anything in its workers."""
    file = tmp_path / "task.py"
    file.write_text(OWN_SESSION)
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, str(file), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "all is well", done.stderr[-4000:]


def test_items_drawn_from_another_run(
    source: Callable[[str], Any], caplog: pytest.LogCaptureFixture, engine: str
) -> None:
    """A run whose results are another's items, as they are drawn, can have no driver: it runs here, and says so."""
    module = source("""
import os

@parallel_task(batch_size=1, **OPTIONS)
def double(item):
    return 2 * item, os.getpid()

def numbers(pids):
    for start in range(0, 20, 10):
        for item, pid in double(range(start, start + 10)):
            pids.add(pid)
            yield item
""")
    pids: set[int] = set()
    results = module.double(module.numbers(pids))
    assert [item for item, _ in results] == [4 * item for item in range(20)]
    assert os.getpid() not in {pid for _, pid in results}
    assert os.getpid() in pids
    assert "double runs on 1 worker instead of 2: the items of another fan-out are drawn from it" in caplog.text


def test_checkpoint(source: Callable[[str], Any], tmp_path: Path, engine: str) -> None:
    """What is finished is kept while other items run, and is not run again."""
    module = source("""
import time
from pathlib import Path

@parallel_task(batch_size=1, **OPTIONS)
def work(item, folder):
    Path(folder, str(item)).open("a").write("x")
    if item == 5 and Path(folder, "5").read_text() == "x":
        until = time.monotonic() + 60
        while not any(Path(folder, "kept").rglob("*[0-9]*")):
            assert time.monotonic() < until
            time.sleep(0.05)
        raise ValueError("the first time")
    return item
""")
    work = module.work.override(checkpoint=str(tmp_path / "kept"))
    with pytest.raises(ValueError, match="the first time"):
        work(range(6), folder=str(tmp_path))
    assert work(range(6), folder=str(tmp_path)) == list(range(6))
    tries = [len((tmp_path / str(item)).read_text()) for item in range(6)]
    assert tries[5] == 2
    assert tries[:3] == [1, 1, 1]


def test_a_method_that_java_lacks(engine: str) -> None:
    """A method that Spark's Java side has no more is an error of one sentence, with the method and both versions."""
    refusal = pytest.raises(
        ClusterError, match=r"can't work with pyspark [\d.]+, which has no method neverThere in Java: "
    )
    with connected("spark", {}, 1) as connection, refusal as caught, java_as_known():
        spark: Any = connection
        spark._scheduler().neverThere()
    assert ". " not in str(caught.value)
