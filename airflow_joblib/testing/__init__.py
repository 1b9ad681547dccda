"""The test kit: a fan-out in a unit test as it runs in a task, without a database, a server or a scheduler.

::

    with task(variables=...) as run:     a stand-in supervisor, a made-up DAG run, a captured log
        price.map(items)                 real workers, relay, log channel and masks
    run.logs, run.xcoms                  what the task would have logged and pushed

Importing this package imports neither Airflow nor pytest: public names are loaded when they are first used. ``dir``
does not list them before: freezegun looks at all that it lists, in every module, and would load Airflow in any test.

May import every room but cli.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_joblib.taskflow.dag_file import load_dag_file
    from airflow_joblib.testing.task_run import TaskRun, task

__all__ = ["TaskRun", "load_dag_file", "task"]

_MODULES = {"TaskRun": "testing.task_run", "load_dag_file": "taskflow.dag_file", "task": "testing.task_run"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(f"airflow_joblib.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
