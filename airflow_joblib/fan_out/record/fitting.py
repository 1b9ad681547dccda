"""The record of a task's runs as one JSON document that stays small: what makes it too large is shortened first."""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_joblib.fan_out.record.timeline import Entry, folded, merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_joblib.fan_out.record.timeline import Row

__all__ = ["BYTES", "RUNS", "VERSION", "document", "entries_of"]

VERSION: Final = 1
#: The last runs of a task that are kept, and the bytes that all of them may take.
RUNS: Final = 10
BYTES: Final = 64 << 10
#: Bytes of the document beside its runs.
_FRAME = 64

Record = dict[str, Any]


class _Level(NamedTuple):
    """How much of a run is shown: characters of a text as JSON, failures, entries of the timeline, slowest items."""

    text: int
    failures: int
    entries: int
    slowest: int


_LEVELS = (
    _Level(2000, 100, 400, 20),
    _Level(700, 100, 400, 20),
    _Level(300, 100, 400, 20),
    _Level(200, 100, 300, 20),
    _Level(150, 100, 200, 20),
    _Level(100, 50, 120, 15),
    _Level(60, 20, 60, 10),
    _Level(40, 5, 30, 5),
)
#: Rows that are left where even that is too much: more workers than could be shown.
_FEWEST_ROWS = 32


def document(runs: Sequence[Mapping[str, Any]]) -> Record:
    """Return the last runs as one document of no more than :data:`BYTES` as JSON.

    The room is shared out fairly: a run that needs less than its share leaves the rest of it to the others.
    """
    kept = [dict(run) for run in runs[-RUNS:]]
    left = BYTES - _FRAME
    by_size = sorted(range(len(kept)), key=lambda place: _size(kept[place]))
    for number, place in enumerate(by_size):
        kept[place] = _fitted(kept[place], left // (len(kept) - number))
        left -= _size(kept[place]) + 2
    return {"version": VERSION, "runs": kept}


def _size(value: object) -> int:
    return len(json.dumps(value))  # in ASCII, which is never less than what is stored


def _fitted(run: Record, most: int) -> Record:
    if _size(run) <= most:
        return run
    found = run
    for level in _LEVELS:
        found = _shortened(run, level)
        if _size(found) <= most:
            return found
    return {**found, "timeline": entries_of(folded(_rows(run["timeline"]), _FEWEST_ROWS))}


def _shortened(run: Record, level: _Level) -> Record:
    return {
        **run,
        "function": _cut(run["function"], level.text),
        "timeline": entries_of(merged(_rows(run["timeline"]), level.entries)),
        "slowest": [_short(item, level.text) for item in run["slowest"][: level.slowest]],
        "failures": [_short(failure, level.text) for failure in run["failures"][: level.failures]],
    }


def _short(record: Mapping[str, Any], most: int) -> Record:
    return {name: _cut(value, most) if isinstance(value, str) else value for name, value in record.items()}


def _cut(text: str, most: int) -> str:
    """Cut a text that takes more than so many characters as JSON, in which one beyond ASCII is six or twelve."""
    if _size(text) - 2 <= most:
        return text
    fits = bisect_right(range(len(text)), most - 3, key=lambda length: _size(text[:length]) - 2) - 1
    return f"{text[:fits]}..."


def _rows(entries: Sequence[Sequence[Any]]) -> list[Row]:
    rows: dict[int, Row] = {}
    for worker, *entry in entries:
        rows.setdefault(worker, []).append(Entry(*entry))
    return list(rows.values())


def entries_of(rows: Sequence[Row]) -> list[list[Any]]:
    """Return the rows as the document has them: ``[worker, start, end, first_item, items, failed]``."""
    return [
        [worker, round(entry.start, 3), round(entry.end, 3), entry.first, entry.items, entry.failed]
        for worker, row in enumerate(rows)
        for entry in row
    ]
