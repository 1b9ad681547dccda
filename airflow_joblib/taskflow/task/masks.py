"""Airflow's masks of secrets, for what a run shows."""

from __future__ import annotations

from typing import Any

from airflow_joblib.taskflow import airflow_internals

__all__ = ["hides", "keep_secret", "mask", "masked"]


def hides(name: str) -> bool:
    """Return whether Airflow takes what goes by *name* for a secret."""
    return bool(airflow_internals.should_hide_value_for_key(name))


def masked(value: Any) -> Any:
    """Return plain data with the secrets masked that the task knows."""
    return airflow_internals.redact(value)


def mask(text: str) -> str:
    """Return a text with the secrets masked that the task knows."""
    return str(masked(text))


def keep_secret(secret: str) -> None:
    """Have a text masked from now on, in this process and in its supervisor."""
    airflow_internals.mask_secret(secret)
