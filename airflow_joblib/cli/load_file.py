"""Load one DAG file as an executor does, in a process that was forked for it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from airflow_joblib.cli.faults import Faults
from airflow_joblib.cli.positions import Positions
from airflow_joblib.options import error_collector
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.dag_file import load_as_executor

if TYPE_CHECKING:
    import ast

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
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _be_like_a_task()
    faults = Faults(file, Positions(file, tree))
    with error_collector.collecting(faults):
        try:
            load_as_executor(file, folder)
            faults.finish()
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


def _be_like_a_task() -> None:
    airflow_internals.block_orm_access()
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
    sys.dont_write_bytecode = True  # to be checked leaves nothing in the folder
