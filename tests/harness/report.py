"""Tables and shortened values as plain text, for a terminal of any width from 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["brief", "outline", "table"]

_SHOWN = 4  # entries of a list with a line of their own
_LISTED = 6  # entries of a list within a line
_WIDTH = 110


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    lines = [tuple(head), *(tuple("" if cell is None else cell for cell in row) for row in rows)]
    texts = [[_cell(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    rendered = [_line(line, text, widths) for line, text in zip(lines, texts, strict=True)]
    return "\n".join([rendered[0], "  ".join("─" * width for width in widths), *rendered[1:]])


def outline(value: Any, indent: str = "") -> str:
    """A value, one line for each of its first entries, and how many more there are."""
    if isinstance(value, dict) and len(brief(value)) > _WIDTH:
        return "\n".join(f"{indent}{key}: {_below(entry, indent)}" for key, entry in value.items())
    if not isinstance(value, list) or len(brief(value)) <= _WIDTH:
        return indent + _cut(brief(value))
    lines = [indent + _cut(brief(entry)) for entry in value[:_SHOWN]]
    return "\n".join([*lines, f"{indent}… {len(value) - _SHOWN} more"] if len(value) > _SHOWN else lines)


def brief(value: Any) -> str:
    """A value on one line, long lists cut short."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {brief(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        more = [f"… {len(value) - _LISTED} more"] if len(value) > _LISTED else []
        return "[" + ", ".join([*map(brief, value[:_LISTED]), *more]) + "]"
    return str(value)


def _below(entry: Any, indent: str) -> str:
    """An entry beside its key, or under it where it's a long list."""
    fits = len(brief(entry)) <= _WIDTH or not isinstance(entry, list)
    return _cut(brief(entry)) if fits else "\n" + outline(entry, indent + "  ")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _line(values: Sequence[object], texts: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        text.rjust(width) if isinstance(value, int | float) else text.ljust(width)
        for value, text, width in zip(values, texts, widths, strict=True)
    )
    return "  ".join(cells).rstrip()
