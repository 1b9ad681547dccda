"""Airflow's masks of secrets, for what a run shows."""

from __future__ import annotations

from typing import Any

from airflow_joblib.taskflow import airflow_internals

__all__ = ["mask", "masked"]


def masked(value: Any) -> Any:
    """Return plain data with the secrets masked that the task knows."""
    return airflow_internals.redact(value)


def mask(text: str) -> str:
    """Return a text with the secrets masked that the task knows."""
    return str(masked(text))
