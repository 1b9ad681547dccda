"""Load one DAG file as an executor does, in a process that was forked for it."""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from airflow_joblib.cli.faults import Faults
from airflow_joblib.cli.positions import Positions
from airflow_joblib.options import collected
from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    import ast
    from types import ModuleType

    from airflow_joblib.cli.findings import Finding

__all__ = ["load_file", "prepare"]


def prepare() -> None:
    """Load what every file needs, once, in the process that others are forked from."""
    from airflow_joblib import decorator  # noqa: F401
    from airflow_joblib.pickling.culprits import explain  # noqa: F401
    from airflow_joblib.taskflow.dag import task  # noqa: F401
    from airflow_joblib.taskflow.dag.warm_up import warm_up

    airflow_internals.check(load=True)
    warm_up()
    gc.freeze()  # a child's collections would copy all of it


def load_file(file: str, folder: str, tree: ast.Module, seconds: float) -> list[Finding]:
    """Load a file, and return what is wrong with the parallel tasks in it, or why it can't be loaded.

    Args:
        file: Absolute path of the file.
        folder: The DAGs folder, where a file's imports are looked for.
        tree: The file's syntax tree.
        seconds: How long it may take.
    """
    from airflow_joblib.decorator import ParallelTask

    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _be_like_a_task(folder)
    faults = Faults(file, Positions(file, tree))
    with collected.collecting(faults):
        try:
            module = _loaded(file)
            faults.finish([each for each in vars(module).values() if type(each) is ParallelTask])
        except _TookTooLong as error:
            faults.too_long(error, seconds)
        except BaseException as error:  # noqa: BLE001 - whatever the file raises, SystemExit too
            faults.error(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return faults.found


class _TookTooLong(BaseException):
    """The file has not been loaded in time."""


def _give_up(*_: object) -> NoReturn:
    raise _TookTooLong


def _be_like_a_task(folder: str) -> None:
    airflow_internals.block_orm_access()
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    sys.dont_write_bytecode = True  # to be checked leaves nothing in the folder
    if folder not in sys.path:
        sys.path.append(folder)


def _loaded(file: str) -> ModuleType:
    """Load a file under the name that Airflow makes up for it."""
    name = airflow_internals.get_unique_dag_module_name(file)
    loader = importlib.machinery.SourceFileLoader(name, file)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        msg = f"No module can be made of {file}."
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
