"""Where the checkpoints of a task instance are: a folder of its own below the one that is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.checkpoint.folders import default_path, make
from airflow_joblib.taskflow.configuration import option

if TYPE_CHECKING:
    import os

    from airflow_joblib.checkpoint.folders import Folder

__all__ = ["folder", "object_storage"]


def folder(where: str | os.PathLike[str] | None = None) -> Folder:
    """Return the folder of the task instance that runs now: the same for each of its tries, and for no other.

    Args:
        where: The decorator's own path or URL, None for that of the configuration.

    Raises:
        InvalidOptionError: The path is relative.
        ParallelTaskError: This is a worker process, which has no task instance.
        Exception: What Airflow raises for a URL or connection that it doesn't know.
    """
    return make(where or option("checkpoint_path") or default_path(), _names(), object_storage)


def _names() -> list[str]:
    from airflow.sdk import get_current_context

    context: Any = get_current_context()
    ti = context["ti"]
    mapped = "single" if ti.map_index is None or ti.map_index < 0 else str(ti.map_index)
    return [ti.dag_id, ti.run_id, ti.task_id, mapped]


def object_storage(url: str) -> Any:
    """Return Airflow's path for a URL; fsspec's own for a scheme that Airflow doesn't know, without a connection."""
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(url)
    try:
        path.fs  # noqa: B018 - looks for the file system
    except ValueError:
        if path.conn_id is not None:
            raise
        from upath import UPath

        return UPath(url)
    return path
