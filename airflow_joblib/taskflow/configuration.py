"""The ``[joblib]`` section, read through Airflow: ``airflow.cfg``, environment, secrets backends and defaults."""

from __future__ import annotations

from airflow_joblib.taskflow.airflow_internals import conf

__all__ = ["option"]


def option(name: str) -> str | None:
    """Return the text of an option of ``[joblib]``, or None where it has none."""
    value = conf.get("joblib", name, fallback=None)
    return None if value is None else str(value)
