"""The configuration and the environment of a harness's Airflow.

Settings, the secrets among them, are in the home's ``airflow.cfg``, readable by its owner only: an environment is
inherited by every process below, and printed by many. What the user's own environment says about Airflow is left out.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import socket
from configparser import RawConfigParser
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["MARKER", "child_environment", "free_port", "write_config"]

MARKER = "AIRFLOW_HARNESS_INSTANCE"

Sections = dict[str, dict[str, str]]


def free_port() -> int:
    """A port of this machine that nobody listens on now, nor gets for a connection until it is used."""
    while True:
        port = random.randrange(24_000, 32_000)  # below those that the kernel hands out, above those that Ray takes
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def child_environment(home: Path, marker: str, wanted: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without its Airflow settings, plus *wanted* and a marker that finds descendants."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))}
    ours = {
        "AIRFLOW_HOME": str(home),
        MARKER: marker,
        "SPT_NOENV": "1",  # Airflow renames its processes; without this that overwrites the marker in /proc
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | ours | dict(wanted)


def write_config(home: Path, dags_folders: Sequence[Path], url: str, wanted: Sections) -> None:
    """Write the home's ``airflow.cfg``, which nobody else may read; what is *wanted* goes before the rest."""
    parser = RawConfigParser()
    parser.read_dict(_merged(_server(home, url), _quick(dags_folders), _secrets(), wanted))
    descriptor = os.open(home / "airflow.cfg", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        parser.write(file)


def _server(home: Path, url: str) -> Sections:
    """What makes it a complete Airflow on one machine, reachable from this machine only."""
    return {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": "4",
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "simple_auth_manager_all_admins": "True",
            "hostname_callable": "socket.gethostname",
            "execution_api_server_url": f"{url}/execution/",
        },
        # Several processes write by turns: on a busy machine one may wait longer than the 5 s that SQLite would allow.
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db?timeout=60"},
        "api": {"host": "127.0.0.1", "port": str(urlsplit(url).port), "base_url": url, "workers": "1"},
        "logging": {"base_log_folder": str(home / "logs"), "colored_console_log": "False"},
    }


def _quick(dags_folders: Sequence[Path]) -> Sections:
    """Short waits, so that a new DAG file is seen and a task is started at once; long limits for a busy machine."""
    bundles = [_bundle(number, folder) for number, folder in enumerate(dags_folders)]
    return {
        "core": {
            "dags_folder": str(dags_folders[0]),
            "min_serialized_dag_update_interval": "0",
            "dagbag_import_timeout": "120",
        },
        "scheduler": {"scheduler_idle_sleep_time": "0.2", "job_heartbeat_sec": "2", "scheduler_heartbeat_sec": "2"},
        "dag_processor": {
            "dag_bundle_config_list": json.dumps(bundles),
            "refresh_interval": "1",
            "bundle_refresh_check_interval": "1",
            "min_file_process_interval": "300",  # a file that was changed is parsed again at once
        },
        "workers": {"execution_api_timeout": "30"},
    }


def _bundle(number: int, folder: Path) -> dict[str, object]:
    return {
        "name": f"folder-{number}",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(folder), "refresh_interval": 1},
    }


def _secrets() -> Sections:
    return {
        "core": {"fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()},
        "api": {"secret_key": secrets.token_urlsafe(32)},
        "api_auth": {"jwt_secret": secrets.token_urlsafe(64)},
    }


def _merged(*parts: Sections) -> Sections:
    merged: Sections = {}
    for part in parts:
        for section, options in part.items():
            merged.setdefault(section, {}).update(options)
    return merged
