"""What others on the machine may see of a cluster, or slip in; and what is said of one that lets everybody in."""

from __future__ import annotations

import logging
import socket
import ssl
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import MARKS, on
from tests.harness.clusters import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

pytestmark = MARKS

#: Of the standard library, and read from files: what an interpreter loads as it starts, and what an engine does.
STANDARD = ("random", "selectors", "signal", "socket", "struct", "tempfile", "uuid")


@on("dask", "ray")
def test_folder_of_a_local_cluster(engine: str, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else may enter it, whatever the engine does to what lies below; no socket lies anywhere else."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = {place for process in family() for place in sockets_of(process)}  # of the cluster that other tests use
    with connected(engine, {}, 1):
        (folder,) = temporary.iterdir()
        assert list(folder.iterdir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        places = {place for process in family() for place in sockets_of(process)} - before
        assert {place for place in places if not Path(place).is_relative_to(folder)} == set()


def family() -> list[psutil.Process]:
    """Return this process and all below it."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def sockets_of(process: psutil.Process) -> list[str]:
    """Return the paths of a process's sockets that are bound to one."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("unix")
        return [str(connection.laddr) for connection in connections if str(connection.laddr).startswith("/")]
    return []


def listening() -> set[int]:
    """Return the ports at which this process or one below it waits for others."""
    found = set()
    for process in family():
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("tcp")
            found |= {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return found


def answer_to_get(port: int, *, encrypted: bool) -> bytes:
    """Return what a port says to a browser that has no certificate."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.settimeout(2)
        with _without_checks().wrap_socket(plain) if encrypted else plain as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return line.recv(100)
    return b""


def _without_checks() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@on("dask")
def test_a_local_dask_serves_no_http(engine: str) -> None:
    """Its dashboard, which shows arguments and code to whoever is on the machine, is nowhere."""
    before = listening()
    with connected(engine, {}, 2):
        ports = listening() - before
        assert ports
        told = {(port, said): answer_to_get(port, encrypted=said) for port in ports for said in (False, True)}
    assert {place: answer for place, answer in told.items() if b"HTTP/" in answer} == {}


def test_nothing_is_loaded_from_the_current_directory(
    engine: str, source_of: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local cluster's processes find there neither the standard library's names nor others, as the task doesn't."""
    place, trap = tmp_path / "current", tmp_path / "trap"
    place.mkdir()
    trap.mkdir()
    for name in (*STANDARD, "stray_module"):
        (place / f"{name}.py").write_text(f"open({str(trap / name)!r}, 'w').close()\nraise ImportError('trapped')\n")
    monkeypatch.chdir(place)
    module = source_of(f"""
from airflow_joblib import parallel_task

@parallel_task(backend={engine!r}, n_jobs=2)
def work(item):
    import importlib.util

    return importlib.util.find_spec("stray_module") is None
""")
    assert module.work(range(2)) == [True, True]
    assert [file.name for file in trap.iterdir()] == []


def warnings_of_open(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of a cluster that lets everybody in."""
    return [
        record.message
        for record in caplog.records
        if record.levelno == logging.WARNING and "requires no authentication" in record.message
    ]


def test_an_open_cluster_is_warned_of_once(engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names its address and what closes it, at the first run of a process that is there."""
    with ENGINES[engine](tmp_path / "cluster", closed=False, workers=1) as cluster:
        # That it comes once is no engine's own, and a driver of Spark or Ray starts slowly.
        for _ in range(2 if engine == "dask" else 1):
            with connected(engine, cluster.options, 2):
                pass
    (said,) = warnings_of_open(caplog)
    assert said.startswith(f"The {engine} cluster at {cluster.options['address']} requires no authentication")


def test_a_closed_cluster_is_not_warned_of(engine: str, cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Where certificates, a token or a secret are asked for, nothing is said."""
    with connected(engine, cluster.options, 2):
        pass
    assert warnings_of_open(caplog) == []


@on("ray")
def test_mailbox(engine: str, cluster: Cluster) -> None:
    """A request that this run's workers have not made, or that has come before, reaches nobody and gets no answer."""
    import ray

    from airflow_joblib.clusters.ray.worker import NAMESPACE
    from airflow_joblib.clusters.sealed import ANSWERS, ASKS, seal, unseal

    reached: list[bytes] = []

    def answer(request: bytes) -> bytes:
        reached.append(request)
        return request.upper()

    with connected(engine, cluster.options, 2) as connection, connection.request_channel(answer) as ask:
        door: Any = ask
        mailbox = ray.get_actor(door.mailbox, NAMESPACE)
        good = seal(door.key, ASKS, "1", b"good")
        assert unseal(door.key, ANSWERS, "1", ray.get(mailbox.ask.remote("1", good), timeout=30)) == b"GOOD"
        held = ray.get(mailbox.__ray_call__.remote(lambda self: repr(vars(self))), timeout=30)
        assert repr(door.key)[2:-1] not in held  # who asks the mailbox for all it has learns no key
        refused = {
            "1": good,  # once more
            "2": good,  # for another number
            "3": b"bare",
            "4": seal(b"x" * 32, ASKS, "4", b"another key"),
            "5": seal(door.key, ANSWERS, "5", b"the other side's"),
            "6": door.key + b"key",
        }
        waiting = [mailbox.ask.remote(number, request) for number, request in refused.items()]
        assert door(b"goes on") == b"GOES ON"
        assert ray.wait(waiting, num_returns=1, timeout=3)[0] == []
    assert reached == [b"good", b"goes on"]
