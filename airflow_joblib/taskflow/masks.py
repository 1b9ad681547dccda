"""Airflow's masks of secrets, for what a run shows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["hides", "keep_secret", "mask", "masked"]


@cache
def _masker() -> ModuleType:
    try:
        from airflow.sdk._shared import secrets_masker
    except ImportError:  # before Airflow 3.2
        from airflow.sdk.execution_time import secrets_masker  # type: ignore[attr-defined, no-redef]
    return secrets_masker


def hides(name: str) -> bool:
    """Return whether Airflow takes what goes by *name* for a secret."""
    return bool(_masker().should_hide_value_for_key(name))


def masked(value: Any) -> Any:
    """Return plain data with the secrets masked that the task knows."""
    return _masker().redact(value)


def mask(text: str) -> str:
    """Return a text with the secrets masked that the task knows."""
    return str(masked(text))


def keep_secret(secret: str) -> None:
    """Have a text masked from now on, in this process and in its supervisor."""
    from airflow.sdk.log import mask_secret

    mask_secret(secret)
