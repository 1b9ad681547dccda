"""What holds for every run of this process, whatever the options of its decorator. For sessions of tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_joblib.options.options import Options

__all__ = ["backend", "in_force", "use"]

_backend: str | None = None


def use(backend: str | None) -> None:
    """Have every run use this backend from now on; None for that of its decorator."""
    global _backend  # noqa: PLW0603 - a session of tests is what this module's state describes
    _backend = backend


def backend() -> str | None:
    """Return the backend that every run uses; None where each uses that of its decorator."""
    return _backend


def in_force(options: Options) -> Options:
    """Return the options of a decorator as they hold for a run. Those of its own backend mean nothing to another."""
    return options if _backend is None else replace(options, backend=_backend, backend_options={})
