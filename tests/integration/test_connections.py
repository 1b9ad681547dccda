"""Where a cluster is, from an Airflow connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_joblib import InvalidOptionError
from airflow_joblib.taskflow.task.cluster_connection import options_of

pytestmark = pytest.mark.integration


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Declare the connection ``cluster``."""

    def declare(**fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "generic", **fields}))

    return declare


@pytest.mark.parametrize(
    ("backend", "fields", "options"),
    [
        ("dask", {"host": "d", "port": 8787}, {"address": "tcp://d:8787"}),
        ("dask", {"host": "d", "extra": {"tls_ca_file": "ca"}}, {"address": "tls://d:8786", "tls_ca_file": "ca"}),
        ("dask", {"host": "ws://d"}, {"address": "ws://d:8786"}),
        ("dask", {"extra": {"address": "tcp://a:1", "timeout": 3}}, {"address": "tcp://a:1", "timeout": 3}),
        ("ray", {"host": "r", "password": "t"}, {"address": "ray://r:10001", "token": "t"}),
        ("spark", {"host": "s", "password": "p"}, {"address": "spark://s:7077", "secret": "p"}),
        ("spark", {"host": "s", "extra": {"conf": {"a": "b"}}}, {"address": "spark://s:7077", "conf": {"a": "b"}}),
    ],
)
def test_options_of(connect: Any, backend: str, fields: dict[str, Any], options: dict[str, Any]) -> None:
    """Host, port, password and extra become the options that the engine knows."""
    connect(**fields)
    assert options_of(backend, "cluster") == options


def test_password_for_dask(connect: Any) -> None:
    """A password, for which Dask has no use, is refused and not shown."""
    connect(host="d", password="hush")
    with pytest.raises(InvalidOptionError, match="'cluster' has a password, which dask can't use") as caught:
        options_of("dask", "cluster")
    assert "hush" not in str(caught.value)


def test_local_backend() -> None:
    """A backend that connects to nothing has no use for a connection."""
    with pytest.raises(InvalidOptionError, match="the backend 'loky' connects to nothing"):
        options_of("loky", "cluster")
