"""What holds in this process: versions, backends, CPUs, shared memory, extras and configuration."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from typing import TYPE_CHECKING, Any, Final

from airflow_joblib import __version__
from airflow_joblib.options.backends import BACKENDS, Backend
from airflow_joblib.pools.fork_safety import fresh_workers_wanted
from airflow_joblib.system import cpu_count
from airflow_joblib.system.credentials import without_credentials
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.provider import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMATS", "collect"]

_DISTRIBUTIONS: Final = (
    "apache-airflow",
    "apache-airflow-core",
    "apache-airflow-task-sdk",
    "apache-airflow-providers-standard",
    "joblib",
    "cloudpickle",
    "psutil",
    "numpy",
    "pandas",
)
#: What has to be installed for the backend of a cluster, by distribution.
_EXTRAS: Final = {"dask": ("dask", "distributed"), "ray": ("ray",), "spark": ("pyspark", "joblibspark")}
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - looked at, nothing is made there
#: Airflow's words for where a value comes from, in ours.
_SOURCES: Final = {
    "env var": "environment",
    "airflow.cfg": "airflow.cfg",
    "cmd": "command",
    "secret": "secrets backend",
}


def collect() -> dict[str, Any]:
    """Return what holds here, as JSON can hold it. No secret is in it."""
    return {
        "airflow-joblib": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "extras": {extra: _of_extra(names) for extra, names in _EXTRAS.items()},
        "backends": {backend.name: _state(backend) for backend in BACKENDS},
        "cpus": _cpus(),
        "shared memory": _shared_memory(),
        "configuration": _configuration(),
    }


def _packages() -> dict[str, str]:
    found = {name: version for name in _DISTRIBUTIONS if (version := _version(name))}
    from joblib.externals import loky

    return {**found, "loky (of joblib)": str(loky.__version__)}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _of_extra(names: tuple[str, ...]) -> str:
    missing = [name for name in names if not _version(name)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _state(backend: Backend) -> str:
    """Return what a backend is here, or why it can't be used."""
    fresh = fresh_workers_wanted()
    if backend.cluster:
        missing = [name for name in _EXTRAS[backend.name] if importlib.util.find_spec(name) is None]
        return f"missing: pip install 'airflow-joblib[{backend.name}]'" if missing else "available"
    if backend.if_safe:
        if fresh:
            return f"fresh processes, as loky, since {fresh}"
        return "forked workers, unless a thread has been used that a fork would lose; the task's log shows which"
    if backend.forks:
        return f"fresh processes, as loky, since {fresh}" if fresh else "forked workers"
    return "available"


def _cpus() -> dict[str, Any]:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        **_usable(),
        "machine": os.cpu_count(),
        "affinity": affinity,
        "cgroup": cpu_count.quota(),
        "LOKY_MAX_CPU_COUNT": os.environ.get("LOKY_MAX_CPU_COUNT"),
    }


def _usable() -> dict[str, Any]:
    try:
        return {"this process may use": cpu_count.count(), "why": cpu_count.shortage() or "all of the machine's"}
    except ValueError as error:  # LOKY_MAX_CPU_COUNT is no number
        return {"this process may use": None, "why": f"can't be counted: {error}"}


def _shared_memory() -> str:
    try:
        room = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return f"no {_SHARED_MEMORY}"
    size, free = (blocks * room.f_frsize >> 20 for blocks in (room.f_blocks, room.f_bavail))
    return f"{_SHARED_MEMORY}: {size:,} MiB, {free:,} MiB of it free"


def _configuration() -> dict[str, dict[str, str]]:
    """Return each option of ``[joblib]`` with where its value comes from."""
    sources = airflow_internals.configuration_with_sources("joblib")
    found = {}
    for name, option in get_provider_info()["config"]["joblib"]["options"].items():
        value, source = sources.get(
            name, (option["default"], "default")
        )  # Airflow 3.1 leaves out a provider's defaults
        found[name] = {"value": without_credentials(str(value), whole=True), "source": _SOURCES.get(source, "default")}
    return found


def _text(found: Mapping[str, Any]) -> str:
    lines = []
    for name, value in found.items():
        if not isinstance(value, dict):
            lines.append(f"{name}: {value}")
            continue
        lines.append(f"{name}:")
        for key, entry in value.items():
            shown = f"{entry['value']} ({entry['source']})" if isinstance(entry, dict) else entry
            lines.append(f"  {key}: {'none' if shown is None else shown}")
    return "\n".join([*lines, ""])


def _json(found: Mapping[str, Any]) -> str:
    return f"{json.dumps(found, indent=2)}\n"


#: Name of each format, and what writes the above so.
FORMATS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {"text": _text, "json": _json}
