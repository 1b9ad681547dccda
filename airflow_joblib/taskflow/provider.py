"""What Airflow's provider manager reads about this library.

Airflow calls this while it is itself still being imported, so nothing here may import Airflow.
"""

from __future__ import annotations

from typing import Any

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Return the provider's declaration: the ``@task.parallel`` decorator, the command and the ``[joblib]`` section."""
    return {
        "package-name": "airflow-joblib",
        "name": "Joblib",
        "description": "Run a TaskFlow function over many items in parallel with joblib, inside one task.",
        "task-decorators": [{"name": "parallel", "class-name": "airflow_joblib.parallel_task"}],
        "cli": ["airflow_joblib.cli.airflow_commands.get_commands"],
        "config": {"joblib": {"description": "Defaults of ``@parallel_task``.", "options": _options()}},
    }


def _options() -> dict[str, dict[str, Any]]:
    return {
        "n_jobs": _option(
            "Workers of a task that names no ``n_jobs``. -1: every CPU the task's process may use; -2: all but one.",
            kind="integer",
            default="-1",
        ),
        "backend": _option(
            "Backend of a task that names no ``backend``: auto, multiprocessing, loky, threading, sequential, dask, "
            "ray, spark, or any name registered with joblib.",
            kind="string",
            default="auto",
        ),
        "memory_budget": _option(
            "Mebibytes of pickled items that a run may keep between the check of its items and their dispatch. Items "
            "beyond it are checked, let go and pickled again when they are due.",
            kind="integer",
            default="256",
        ),
        "record": _option(
            "Whether a task shows its runs, while they go on and when they are over, in its XCom ``fan_out``: how far "
            "they are, what failed, which items are slow, and where the time goes.",
            kind="boolean",
            default="True",
        ),
        "checkpoint_path": _option(
            "Folder, or URL that ``ObjectStoragePath`` takes (``s3://connection@bucket/path``), below which a task "
            "with ``checkpoint=True`` keeps finished items. Tasks that may run on several hosts need one that all of "
            "them reach. Whoever can write there can run code in the tasks that read it.",
            kind="string",
            default="{AIRFLOW_HOME}/joblib_checkpoints",
        ),
        "checkpoint_days": _option(
            "Days that a checkpoint is kept after it was last read or added to: that of a task that failed, or that "
            "succeeded with failed items that it tolerates. It is removed at the end of the next run that has a "
            "checkpoint below the same folder or URL. 0: none is removed because of its age.",
            kind="integer",
            default="14",
        ),
        "tab": _option(
            "Whether the page of a task instance has the tab Fan-out. Before Airflow 3.4 a tab can't be limited to "
            "tasks that have something to show, so every task has it. Read by the API server.",
            kind="boolean",
            default="True",
        ),
    }


def _option(description: str, *, kind: str, default: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": None,
        "default": default,
    }
