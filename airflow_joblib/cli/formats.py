"""How findings are written: a line each for people, JSON for programs, commands for GitHub's annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_joblib.cli.findings import page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.cli.findings import Finding

__all__ = ["FORMATS"]


def _text(findings: Sequence[Finding]) -> str:
    return "".join(
        f"{_shown(each.file)}:{each.place.line}:{each.place.column}: {each.code} {each.message}\n" for each in findings
    )


def _json(findings: Sequence[Finding]) -> str:
    rows = [
        {
            "file": _shown(each.file),
            "line": each.place.line,
            "column": each.place.column,
            "end_line": each.place.end_line,
            "code": each.code,
            "message": each.message,
            "page": page(each.code),
        }
        for each in findings
    ]
    return f"{json.dumps(rows, indent=2, ensure_ascii=False)}\n"


def _github(findings: Sequence[Finding]) -> str:
    return "".join(
        f"::error file={_property(_shown(each.file))},line={each.place.line},col={each.place.column},"
        f"endLine={each.place.end_line},title={each.code}::{_escaped(f'{each.code} {each.message}')}\n"
        for each in findings
    )


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _shown(file: str) -> str:
    """Return a path as seen from the current folder, where it lies below that."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


#: Name of each format, and what writes findings so.
FORMATS: Final[dict[str, Callable[[Sequence[Finding]], str]]] = {"text": _text, "json": _json, "github": _github}
