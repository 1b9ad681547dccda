"""Run a TaskFlow function over many items in parallel with joblib, inside one Airflow task.

Importing this package imports neither Airflow nor joblib: public names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_joblib.decorator import parallel_task
    from airflow_joblib.exceptions import (
        ClusterError,
        FailItem,
        InvalidOptionError,
        ItemTimeoutError,
        NotPicklableError,
        ParallelTaskError,
        RetryItem,
        TooManyFailuresError,
        WorkerLostError,
    )
    from airflow_joblib.fan_out.record.outcome import Run
    from airflow_joblib.parallel import ParallelTask
    from airflow_joblib.split_join import join, split

__version__ = "0.1.0"

__all__ = [
    "ClusterError",
    "FailItem",
    "InvalidOptionError",
    "ItemTimeoutError",
    "NotPicklableError",
    "ParallelTask",
    "ParallelTaskError",
    "RetryItem",
    "Run",
    "TooManyFailuresError",
    "WorkerLostError",
    "join",
    "parallel_task",
    "split",
]

_MODULES = {
    "ParallelTask": "parallel",
    "Run": "fan_out.record.outcome",
    "join": "split_join",
    "parallel_task": "decorator",
    "split": "split_join",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
