"""The record of a run as a picture: one piece of HTML that needs nothing else, for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["picture"]

#: Pixels of the timeline's width, of a row, and of the least that an entry is drawn with.
_WIDTH, _ROW, _LEAST = 720, 14, 1.0
#: Rows, slowest items and failures that are drawn.
_ROWS, _SLOWEST, _FAILURES = 64, 5, 20
_DONE, _FAILED, _IDLE = "#4c8bf5", "#d64545", "#8884"
#: Colours of the text and of the ground are the notebook's.
_STYLE: Final = "font-family:sans-serif;font-size:13px;line-height:1.5"


def picture(run: Mapping[str, Any], failed: int) -> str:
    """Return one run of a record as HTML; every text in it is escaped.

    Args:
        run: The run, which has the first of its failures.
        failed: How many failures there are.
    """
    failures = _failures(run["failures"], failed)
    parts = (_headline(run), _bar(run["items"]), _timeline(run), _slowest(run["slowest"]), failures)
    return f'<div style="{_STYLE}">{"".join(parts)}</div>'


def _headline(run: Mapping[str, Any]) -> str:
    items = run["items"]
    counts = [f"{items['done']:,} of {items['total'] or 0:,} items done"]
    counts += [f"{items[name]:,} {name}" for name in ("failed", "retried", "skipped") if items[name]]
    how = f"{run['workers']:,} of {escape(run['backend'])}, {run['rate']:,.1f} items a second"
    return f"<div><b>{escape(run['function'])}</b>: {', '.join(counts)} ({how})</div>"


def _bar(items: Mapping[str, Any]) -> str:
    total = max(items["total"] or 0, 1)
    done, failed = (_WIDTH * items[name] / total for name in ("done", "failed"))
    bars = ((0, _WIDTH, _IDLE), (0, done, _DONE), (done, failed, _FAILED))
    return _drawing(6, "progress", "".join(_rectangle(x, 0, width, 6, colour) for x, width, colour in bars))


def _timeline(run: Mapping[str, Any]) -> str:
    """Draw a row for each worker: what it ran when, with what failed in another colour."""
    entries = [entry for entry in run["timeline"] if entry[0] < _ROWS]
    if not entries:
        return ""
    seconds = max(entry[2] for entry in entries)
    scale = _WIDTH / max(seconds, 1e-9)
    rows = 1 + max(entry[0] for entry in entries)
    ground = "".join(_rectangle(0, row * _ROW + _ROW / 2, _WIDTH, 1, _IDLE) for row in range(rows))
    bars = "".join(_entry(entry, scale) for entry in entries)
    drawn = _drawing(rows * _ROW, "timeline of the workers", ground + bars)
    return f"{drawn}<div>{rows:,} workers, {seconds:,.2f} s</div>"


def _entry(entry: Sequence[Any], scale: float) -> str:
    worker, start, end, first, items, failed = entry
    bad = f", {failed:,} failed" if failed else ""
    title = f"worker {worker}: {items:,} items from {first:,} on{bad}, {start:.2f} to {end:.2f} s"
    width = max(_LEAST, (end - start) * scale)
    return _rectangle(start * scale, worker * _ROW + 2, width, _ROW - 4, _FAILED if failed else _DONE, title)


def _slowest(items: Sequence[Mapping[str, Any]]) -> str:
    if not items:
        return ""
    named = ", ".join(f"{escape(item['label'])} ({item['seconds']:.3g} s)" for item in items[:_SLOWEST])
    return f"<div>Slowest: {named}</div>"


def _failures(records: Sequence[Mapping[str, Any]], failed: int) -> str:
    if not records:
        return ""
    head = _row("th", ("index", "item", "error", "message", "tries"))
    names = ("index", "item", "error_type", "message", "tries")
    rows = "".join(_row("td", (record[name] for name in names)) for record in records[:_FAILURES])
    left = failed - len(records[:_FAILURES])
    more = f"<div>and {left:,} more</div>" if left > 0 else ""
    return f"<table>{head}{rows}</table>{more}"


def _row(kind: str, cells: Iterable[object]) -> str:
    inner = "".join(f'<{kind} style="text-align:left">{escape(str(cell))}</{kind}>' for cell in cells)
    return f"<tr>{inner}</tr>"


def _drawing(height: float, what: str, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{what}" width="{_WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {_WIDTH} {height:g}" style="display:block;margin:4px 0;max-width:100%">{inner}</svg>'
    )


def _rectangle(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:  # noqa: PLR0913, PLR0917 - SVG's own
    said = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:g}" fill="{colour}">{said}</rect>'
