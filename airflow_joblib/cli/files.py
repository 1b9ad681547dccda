"""Which files are checked, and the DAGs folder that each belongs to."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DagFile", "dag_files", "dags_folder"]


@dataclass(frozen=True, slots=True)
class DagFile:
    """A file that may define DAGs.

    Attributes:
        path: Absolute path.
        folder: The DAGs folder that it belongs to, which Airflow has on ``sys.path``.
    """

    path: str
    folder: str


def dags_folder() -> Path:
    """Return the folder that Airflow is configured to have its DAGs in."""
    return Path(airflow_internals.conf.get("core", "dags_folder")).expanduser().absolute()


def dag_files(paths: Iterable[Path]) -> Iterator[DagFile]:
    """Yield the Python files that may define DAGs, as Airflow finds them: ``.airflowignore`` and its guess by content.

    Args:
        paths: Files, which need not be named ``.py``, and folders.
    """
    configured = dags_folder()
    seen = set()
    for path in (each.absolute() for each in paths):
        for found in _found(path):
            if found not in seen and found.endswith(".py"):  # what is in an archive has no lines to point at
                seen.add(found)
                yield DagFile(found, str(_folder_of(Path(found), path, configured)))


def _found(path: Path) -> list[str]:
    if path.is_dir():
        try:
            return _in_folder(path)
        except RuntimeError:  # a link leads back to a folder above, where Airflow gives up
            return _found_without_loops(path)
    return [str(path)] if _may_define_dags(str(path)) else []


def _in_folder(folder: Path) -> list[str]:
    """Return the Python files of a folder that Airflow would load."""
    syntax = airflow_internals.conf.get("core", "dag_ignore_file_syntax", fallback="glob")
    found = airflow_internals.find_path_from_directory(str(folder), ".airflowignore", syntax)
    return sorted(file for file in found if file.endswith(".py") and Path(file).is_file() and _may_define_dags(file))


def _may_define_dags(file: str) -> bool:
    try:
        return airflow_internals.may_define_dags(file)
    except OSError:  # a finding, once it is read
        return True


def _found_without_loops(folder: Path) -> list[str]:
    """Return what Airflow would find, were it not for links to folders that have been seen."""
    with tempfile.TemporaryDirectory() as made:
        like, seen = Path(made).resolve(), {folder.resolve()}
        for root, folders, files in os.walk(folder, followlinks=True):
            here = like / Path(root).relative_to(folder)
            folders[:] = [name for name in sorted(folders) if _is_new(Path(root, name), seen)]
            for name in folders:
                (here / name).mkdir()
            for name in files:
                (here / name).symlink_to(Path(root, name).absolute())
        return sorted(str(folder / Path(each).relative_to(like)) for each in _in_folder(like))


def _is_new(folder: Path, seen: set[Path]) -> bool:
    real = folder.resolve()
    if real in seen:
        sys.stderr.write(f"airflow-joblib: {folder} is left out: it leads to {real}, which is checked anyway.\n")
        return False
    seen.add(real)
    return True


def _folder_of(file: Path, given: Path, configured: Path) -> Path:
    """Return the DAGs folder of a file: the configured one, one named so, the one that was given, or its own."""
    if configured in file.parents:
        return configured
    named = [folder for folder in file.parents if folder.name == "dags"]
    return named[-1] if named else (given if given.is_dir() else file.parent)
