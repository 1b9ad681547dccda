"""Clusters that can't be used: a clear error before anything runs. And what the engine itself leaves behind."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import ClusterError, InvalidOptionError, parallel_task
from airflow_joblib.clusters.pool import connected
from tests.engines.helpers import MARKS, on
from tests.harness.certificates import make_certificates
from tests.harness.clusters import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.clusters import Cluster

pytestmark = MARKS


@parallel_task(n_jobs=2)
def where(item: int) -> tuple[int, int]:
    return item, os.getpid()


@pytest.fixture
def nobody() -> str:
    """Host and port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_unreachable(engine: str, nobody: str) -> None:
    """A cluster that doesn't answer is an error within the time given, which names the address."""
    protocol = {"dask": "tcp://", "ray": "ray://", "spark": "spark://"}[engine]
    began = time.monotonic()
    options = {"address": protocol + nobody, "timeout": 3}
    with pytest.raises(ClusterError, match=f"No {engine} cluster answered at {protocol}{nobody} within 3 s"):
        where.override(backend=engine, backend_options=options)(range(3))
    assert time.monotonic() - began < 30


def test_unknown_option(engine: str) -> None:
    """A misspelt option is refused, with those that the engine has."""
    with pytest.raises(InvalidOptionError, match=r"\['adress'\] are not known .*address"):
        where.override(backend=engine, backend_options={"adress": "x"})(range(3))


def test_local_cluster(engine: str, source_of: Callable[[str], Any]) -> None:
    """Without options the engine's own local cluster runs the items, and is gone afterwards, with all it started."""
    before = {process.pid for process in psutil.process_iter()}
    module = source_of("""
import os, time
from airflow_joblib import parallel_task

@parallel_task(n_jobs=2)
def where(item):
    time.sleep(0.05)
    return item, os.getpid()
""")
    results = module.where.override(backend=engine)(range(20))
    assert [item for item, _ in results] == list(range(20))
    assert os.getpid() not in {pid for _, pid in results}
    until = time.monotonic() + 5
    while (left := _offspring(before)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def _offspring(before: set[int]) -> list[str]:
    found = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    alive = [child for child in found if child.status() != psutil.STATUS_ZOMBIE]
    return [name for child in alive if "tracker" not in (name := " ".join(child.cmdline()))]


@on("dask")
def test_dask_certificate_of_another(cluster: Cluster, engine: str, tmp_path: Path) -> None:
    """A certificate that the scheduler's authority has not signed gets nobody in."""
    files = make_certificates(tmp_path / "other")
    options = {
        **cluster.options,
        "tls_client_cert": files.certificate,
        "tls_client_key": files.key,
        "tls_ca_file": files.authority,
        "timeout": 3,
    }
    with pytest.raises(ClusterError, match="with the same TLS files"):
        where.override(backend="dask", backend_options=options)(range(3))


@on("dask", "ray")
def test_worker_with_other_software(engine: str, tmp_path: Path) -> None:
    """A worker whose cloudpickle is another version is refused before anything has run."""
    metadata = tmp_path / "path" / "cloudpickle-0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: cloudpickle\nVersion: 0.1\n")
    message = r"has cloudpickle 0\.1, the task has .*pip install 'cloudpickle=="
    other = ENGINES[engine](tmp_path / "cluster", workers=1, PYTHONPATH=str(tmp_path / "path"))
    with other as cluster, pytest.raises(ClusterError, match=message):
        where.override(backend=engine, backend_options=cluster.options)(range(3))


@on("ray")
def test_ray_worker_without_the_package(engine: str, tmp_path: Path) -> None:
    """A worker that lacks what runs the items is named, with the command that mends it."""
    package = tmp_path / "path" / "airflow_joblib" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ModuleNotFoundError(\"No module named 'airflow_joblib'\")\n")
    message = (
        r"The ray worker at 127\.0\.0\.\d \(node [0-9a-f]{8}\) lacks airflow-joblib, .*pip install 'airflow-joblib=="
    )
    other = ENGINES[engine](tmp_path / "cluster", workers=1, PYTHONPATH=str(tmp_path / "path"))
    with other as cluster, pytest.raises(ClusterError, match=message):
        where.override(backend=engine, backend_options=cluster.options)(range(3))


@on("ray")
def test_ray_token_of_another(cluster: Cluster, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token gets nobody in."""
    for patience in ("INITIAL", "MAX"):  # of Ray's own three tries, half a minute in all
        monkeypatch.setattr(f"ray.util.client.worker.{patience}_TIMEOUT_SEC", 1)
    with (
        pytest.raises(ClusterError, match="No ray cluster answered"),
        connected("ray", {**cluster.options, "token": "0" * 64, "timeout": 3}, 2),
    ):
        pass
