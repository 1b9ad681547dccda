"""What only Ray does: clusters that are shared by CPUs, one connection for a process, and traces in the process."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ClusterError
from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import MARKS, on

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

ray = pytest.importorskip("ray", reason="Ray is not installed.")
pytestmark = [*MARKS, on("ray")]

DOUBLE = """
import os, time

@parallel_task(batch_size=1, **OPTIONS)
def double(item):
    time.sleep(0.05)
    return 2 * item, os.getpid()
"""


def test_two_runs_at_once(source: Source) -> None:
    """Runs that want the same CPUs share them as they come free, and none waits for the other for ever."""
    module = source(DOUBLE)
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: module.double(range(20)), range(2)))
    assert [[item for item, _ in results] for results in both] == [[2 * item for item in range(20)]] * 2


def test_items_drawn_from_another_run(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """A run whose results are another's items, as they are drawn, has no CPU left: it runs here, and says so."""
    module = source(f"""{DOUBLE}
def numbers():
    for start in range(0, 40, 10):
        yield from [item for item, _ in double(range(start, start + 10))]
""")
    results = module.double(module.numbers())
    assert [item for item, _ in results] == [4 * item for item in range(40)]
    assert os.getpid() not in {pid for _, pid in results}
    assert "double runs on 1 worker instead of 2: the items of another fan-out are drawn from it" in caplog.text


def test_fewer_cpus_than_workers(
    engine: str, cluster: Cluster, source: Source, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that gets fewer workers than it has asked for goes on with those, and the log warns of it."""
    monkeypatch.setattr("airflow_joblib.clusters.ray.backend._PATIENCE", 5.0)
    module = source(DOUBLE)
    with connected(engine, cluster.options, 2):
        other = ray.remote(num_cpus=1)(Counter).remote()
        ray.get(other.most_common.remote())
        results = module.double.override(n_jobs=2)(range(200))
        ray.kill(other)
    assert [item for item, _ in results] == [2 * item for item in range(200)]
    assert len({pid for _, pid in results}) == 1
    (said,) = [record for record in caplog.records if "workers are there after" in record.message]
    assert said.levelname == "WARNING"
    assert said.message.startswith("1 of 2 workers are there after 5 s: the Ray cluster may have no more CPUs free")


def test_address_inside(engine: str, cluster: Cluster, dag_file: Callable[[str], Any], tmp_path: Path) -> None:
    """From a node of the cluster it can be used without a client's server; a failure there is one as well."""
    options = {"backend": engine, "backend_options": {**cluster.options, "address": cluster.inside}}
    head = f"from airflow_joblib import parallel_task\nOPTIONS = {options!r}\n"
    module = dag_file(f"{head}{DOUBLE}")
    results = module.double(range(20))
    assert [item for item, _ in results] == [2 * item for item in range(20)]
    assert os.getpid() not in {pid for _, pid in results}
    with connected(engine, options["backend_options"], 2) as connection, connection.request_channel(bytes.upper) as ask:  # type: ignore[arg-type]
        asking = dag_file(f"{head}\n@parallel_task(**OPTIONS)\ndef work(item, ask):\n    return ask(item)\n")
        assert asking.work([b"one", b"two"], ask=ask) == [b"ONE", b"TWO"]


def test_one_cluster_at_a_time(engine: str, cluster: Cluster) -> None:
    """A process that is connected to one cluster can't use another one, and is told so; the same one it can."""
    with connected(engine, cluster.options, 2) as first:
        with connected(engine, cluster.options, 2) as second:
            assert first.slots == second.slots == 2
        assert ray.is_initialized()
        with pytest.raises(ClusterError, match="connected to another Ray cluster"), connected(engine, {}, 2):
            pass
    assert not ray.is_initialized()


def test_ray_that_the_task_has_initialized(engine: str, source_of: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used as it is, and left open."""
    from airflow_joblib.clusters.ray.session import _authenticated

    module = source_of(f"from airflow_joblib import parallel_task\nOPTIONS = {{}}\n{DOUBLE}")
    own = tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)
    with own as folder, _authenticated("0" * 64):  # else Ray makes a token in the user's home
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        try:
            task = module.double.override(backend=engine, n_jobs=2)
            assert [item for item, _ in task(range(4))] == [0, 2, 4, 6]
            assert ray.is_initialized()
        finally:
            ray.shutdown()


def test_traces_in_the_process(engine: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of signals, loggers, warnings and the environment are as before; a local cluster leaves no file."""
    short = tempfile.mkdtemp(dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", short)

    def traces() -> dict[str, Any]:
        logger = logging.getLogger("ray")
        return {
            "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
            "logger": (logger.level, list(logger.handlers), logger.propagate),
            "warnings": list(warnings.filters),
            "environment": {name: value for name, value in os.environ.items() if "RAY" in name},
            "folders": sorted(Path(short).iterdir()),
            "threads": threads(),
        }

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "airflow-joblib" in thread.name]

    for options in (cluster.options, {}):
        before = traces()
        with connected(engine, options, 2):
            assert traces()["signals"] == before["signals"]
        until = time.monotonic() + 10
        while threads() and time.monotonic() < until:  # nobody waits for them
            time.sleep(0.05)
        assert traces() == before
    Path(short).rmdir()


def test_local_cluster_is_private(engine: str) -> None:
    """It listens on this machine alone, and lets nobody in who has not its token, which is in no file by a name."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with connected(engine, {}, 1):
        children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        places = {
            connection.laddr.ip
            for child in children
            for connection in child.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        address = ray.get_runtime_context().gcs_address
        code = f"import ray; ray.init('{address}', log_to_driver=False)"
        stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        done = subprocess.run([sys.executable, "-c", code], env=stranger, capture_output=True, text=True, check=False)
    assert places <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert done.returncode
    assert re.search("(?i)unauthenticated|authentication|token", done.stderr), done.stderr


@pytest.mark.parametrize("found", [{"ray_version": "2.0.0"}, {"python_version": "3.9.1"}])
def test_other_versions(engine: str, found: dict[str, str]) -> None:
    """Another Ray or Python on the cluster is named, with what mends it."""
    from ray._private.utils import check_version_info, compute_version_info

    from airflow_joblib.clusters.ray.session import _refused

    here = dict(zip(("ray_version", "python_version"), compute_version_info(), strict=True))
    with pytest.raises(RuntimeError, match="Version mismatch") as caught:
        check_version_info({**here, **found}, "this host")
    message = str(_refused(caught.value, f"{engine}://host:1", 10))
    (version,) = found.values()
    assert version in message
    assert f"pip install 'ray=={ray.__version__}'" in message


def test_start_that_fails_once(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of Ray's that was not there when it should is waited for once more; any other error is told at once."""
    tries: list[str] = []
    start = ray.init

    def fail_first(**settings: Any) -> Any:
        tries.append("init")
        if len(tries) == 1:
            raise RuntimeError("Timed out waiting for file gcs_server_port_1")
        return start(**settings)

    monkeypatch.setattr("ray.init", fail_first)
    with connected(engine, {}, 1) as cluster:
        assert cluster.slots == 1
    assert len(tries) == 2

    def fail(**_: Any) -> None:
        tries.append("init")
        raise RuntimeError("no space left")

    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(ClusterError, match="no space left"), connected(engine, {}, 1):
        pass
    assert len(tries) == 3
