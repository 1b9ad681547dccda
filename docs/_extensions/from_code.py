"""Signatures that the code spells with stars: the reference spells them out, those of the options from their record."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from airflow_joblib.options.options import Options

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _signature(_app: object, _what: str, name: str, *_: Any) -> tuple[str, str] | None:
    """Spell out what the code itself takes as ``*args`` and ``**options``."""
    if name == "airflow_joblib.ParallelTask.__call__":
        return "(items, *args, **kwargs)", ""
    if name == "airflow_joblib.parallel_task":
        options = ", ".join(f"{entry.name}={_default(entry)}" for entry in fields(Options))
        return f"(function=None, /, *, {options}, **task_options)", ""
    return None


def _default(entry: Any) -> str:
    return "None" if entry.default is MISSING else repr(entry.default)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what is here."""
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
