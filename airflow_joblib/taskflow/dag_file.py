"""Loads a DAG file as an executor does: under a made-up name, by which no worker can import it."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    import os
    from types import ModuleType, TracebackType

__all__ = ["load_as_executor", "load_dag_file"]


def load_dag_file(path: str | os.PathLike[str]) -> ModuleType:
    """Load a DAG file the way an executor does, and return its module.

    The module has a made-up name, and each call loads the file anew. The file's folder is added to the end of
    ``sys.path``, where it isn't there already, so that the file can import the modules beside it.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        Exception: What the file itself raises, with the traceback from the file on.
    """
    file = Path(path).absolute()
    if not file.is_file():
        msg = f"There is no DAG file {str(file)!r}."
        raise FileNotFoundError(msg)
    return load_as_executor(str(file), str(file.parent))


def load_as_executor(file: str, folder: str) -> ModuleType:
    """Load a DAG file under the name that Airflow makes up for it, and return its module.

    Args:
        file: Absolute path of the file.
        folder: Where the file's imports are looked for last.

    Raises:
        BaseException: What the file itself raises, with the traceback from the file on.
    """
    if folder not in sys.path:
        sys.path.append(folder)
    name = airflow_internals.get_unique_dag_module_name(file)
    loader = SourceFileLoader(name, file)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - it is raised again
        sys.modules.pop(name, None)
        raise error.with_traceback(_from_file(error.__traceback__, file))  # noqa: B904 - it is the same error
    return module


def _from_file(trace: TracebackType | None, file: str) -> TracebackType | None:
    """Return the part of a traceback that begins in the file; all of it, where no part does."""
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename != file:
        found = found.tb_next
    return trace if found is None else found
