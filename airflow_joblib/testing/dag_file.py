"""Loads a DAG file as an executor does: under a made-up name, by which no worker can import it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_joblib.pickling.by_value import DAG_FILE_PREFIX

if TYPE_CHECKING:
    import os
    from types import ModuleType, TracebackType

__all__ = ["load_dag_file"]


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
    digest = hashlib.sha1(str(file).encode(), usedforsecurity=False).hexdigest()
    name = f"{DAG_FILE_PREFIX}{digest}_{file.stem}"
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    return _executed(name, str(file))


def _executed(name: str, file: str) -> ModuleType:
    loader = SourceFileLoader(name, file)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # noqa: S101 - a loader was given
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - it is raised again
        del sys.modules[name]
        raise error.with_traceback(_from_file(error.__traceback__, file)) from None
    return module


def _from_file(trace: TracebackType | None, file: str) -> TracebackType | None:
    """Return the part of a traceback that begins in the file; all of it, where no part does."""
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename != file:
        found = found.tb_next
    return trace if found is None else found
