"""Whether the workers of a cluster can import what a function needs."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import ClusterError
from airflow_joblib.pickling.by_value import findable_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["airflow_version", "check_airflow", "check_modules", "distribution_of", "is_airflow", "missing"]

log = logging.getLogger("airflow_joblib")

#: The part of Airflow that a worker talks to the task by.
_AIRFLOW = "apache-airflow-task-sdk"
_OTHER_AIRFLOW = (
    "The {} worker {} has {} {}, the task has {}: items' requests for Airflow pass between the two, which know "
    "each other's messages within a minor version. {}Install the task's version on every worker: pip install '{}=={}'"
)


def missing(modules: Iterable[str]) -> list[str]:
    """Return those of *modules* that this process can't import; none is imported to find out."""
    importlib.invalidate_caches()  # it may have been installed a moment ago
    return [module for module in modules if findable_part(module) != module]


def check_modules(
    name: str, workers: Mapping[str, Iterable[str]], needed: Mapping[str, str], perhaps: Mapping[str, str]
) -> None:
    """Look at what workers lack.

    Args:
        name: The engine.
        workers: What :func:`missing` returns on each worker, by the worker's name.
        needed: Modules without which nothing runs, and what needs each.
        perhaps: Modules that an item may or may not import, and what would.

    Raises:
        ClusterError: A worker lacks a module that is needed.
    """
    for worker, lacking in workers.items():
        for module in lacking:
            if module in needed:
                raise ClusterError(_lacks(name, worker, module, needed[module]))
    named: set[str] = set()
    for worker, lacking in workers.items():
        for module in sorted(set(lacking) - named):
            named.add(module)
            log.warning("%s", _may_lack(name, worker, module, perhaps[module]))


def is_airflow(module: str) -> bool:
    """Return whether a module is one of Airflow's."""
    return module.partition(".")[0] == "airflow"


def airflow_version() -> str | None:
    """Return the version of Airflow's task SDK here, without loading it; None where there is none."""
    try:
        return importlib.metadata.version(_AIRFLOW)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_airflow(name: str, workers: Mapping[str, str | None], *, refuse: bool) -> None:
    """Compare the Airflow of workers with the task's, for a function that uses it there.

    Args:
        name: The engine.
        workers: What :func:`airflow_version` returns on each worker, by the worker's name.
        refuse: Whether another one is an error; else a warning, since an item may never use it.

    Raises:
        ClusterError: A worker has another one.
    """
    here = airflow_version()
    for worker, there in workers.items():
        if here is None or there is None or here.split(".")[:2] == there.split(".")[:2]:
            continue  # one that is missing has been named, with the module that is
        what = name, worker, _AIRFLOW, there, here
        if refuse:
            raise ClusterError(_OTHER_AIRFLOW.format(*what, "Nothing has run. ", _AIRFLOW, here))
        log.warning("%s", _OTHER_AIRFLOW.format(*what, "", _AIRFLOW, here))
        return


def _lacks(name: str, worker: str, module: str, who: str) -> str:
    what, mend = _what(module)
    by = f"{who}() imports" if who else "what the task sends refers to"
    return f"The {name} worker {worker} lacks {what}, which {by}. Nothing has run. {mend}"


def _may_lack(name: str, worker: str, module: str, who: str) -> str:
    what, mend = _what(module)
    return f"The {name} worker {worker} lacks {what}: an item that calls {who}(), which imports it, will fail. {mend}"


def _what(module: str) -> tuple[str, str]:
    """Return how a message names a module, and what it advises."""
    package = distribution_of(module)
    if package is None:
        return f"the module {module}", "Install what provides it in the environment of every worker."
    command = f"pip install '{package}=={importlib.metadata.version(package)}'"
    what = package if package == module else f"the module {module} of {package}"
    return what, f"Install it in the environment of every worker: {command}"


def distribution_of(module: str) -> str | None:
    """Return the name of the installed distribution that a module is of, None where that is unknown."""
    top = module.partition(".")[0]
    candidates = sorted(set(_distributions().get(top, ())))
    if len(candidates) > 1:  # which share a package, as providers of Airflow do
        path = module.replace(".", "/")
        candidates = [each for each in candidates if _has(each, path)] or candidates
    return candidates[0] if candidates else None


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _has(distribution: str, path: str) -> bool:
    """Return whether a distribution has installed a module: a package, or a file with whatever ending."""
    names = (str(file) for file in importlib.metadata.files(distribution) or ())
    return any(name == f"{path}/__init__.py" or name.partition(".")[0] == path for name in names)
