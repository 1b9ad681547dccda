"""What surrounds a run: its configuration and its host. Both are Airflow's where Airflow is loaded."""

from __future__ import annotations

from airflow_joblib.fan_out.host import Host
from airflow_joblib.options.options import Defaults, environment
from airflow_joblib.taskflow import airflow_internals

__all__ = ["defaults", "host"]


def defaults() -> Defaults:
    """Read ``[joblib]``: through Airflow where it is loaded, from the environment where it is not.

    Raises:
        InvalidOptionError: An option has a value it can't have.
    """
    if not airflow_internals.is_loaded():
        return Defaults.read(environment)
    from airflow_joblib.taskflow import configuration

    return Defaults.read(configuration.option)


def host() -> Host:
    """Return the host of a run: the task that this process runs, if it runs one."""
    if not airflow_internals.is_loaded():
        return Host()
    from airflow_joblib.taskflow.task.host import inside_task, of_this_process

    return of_this_process() if inside_task() else Host()
