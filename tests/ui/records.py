"""Records as tasks write them in the XCom ``fan_out``: a run that goes on, one that failed, a large one."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

Record = dict[str, Any]

BEGAN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
EDGES = [0.001 * 2**power for power in range(15)]
MESSAGES = {
    "PIL.UnidentifiedImageError": "cannot identify image file 'scans/{}.png'",
    "builtins.TimeoutError": "no answer from the image server within 30 s",
    "builtins.ValueError": "width must be > 0, got -{}",
}


def record(*runs: Record) -> Record:
    """What the XCom holds."""
    return {"version": 1, "runs": list(runs)}


def run(
    items: int = 500, *, total: int | None = -1, workers: int = 4, failed: int = 0, state: str = "success", **more: Any
) -> Record:
    """One run of which *items* are finished, *failed* of them in vain."""
    chance = random.Random(items * 31 + failed)
    bad = set(chance.sample(range(0, items, max(1, items // 1_200)), failed))
    timeline, took = _timeline(chance, items, workers, bad)
    wall = max(span[2] for span in timeline)
    running = sum(span[2] - span[1] for span in timeline) / workers
    counts = {"total": items if total == -1 else total, "done": items - failed, "failed": failed}
    whole = {
        "function": "thumbnail",
        "backend": "multiprocessing",
        "workers": workers,
        "state": state,
        "began": BEGAN.isoformat(timespec="milliseconds"),
        "ended": None if state == "running" else _after(wall),
        "updated": _after(wall),
        "items": {**counts, "skipped": 0, "earlier": 0, "retried": 2 * failed},
        "rate": round(items / wall, 3),
        "seconds_left": None,
        "timeline": timeline,
        "durations": {"edges": EDGES, "counts": _histogram(took)},
        "slowest": _slowest(took),
        "failures": [_failure(chance, index) for index in sorted(bad)[:100]],
        "time": {"start": 0.12, "running": round(running, 3), "sending": 0.2, "end": round(wall - running - 0.32, 3)},
    }
    return {**whole, **more}


def _after(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _timeline(chance: random.Random, items: int, workers: int, bad: set[int]) -> tuple[list[list[float]], list[float]]:
    """At most some 1,500 entries, as merged neighbours leave; with the seconds that items took, about."""
    chunk = max(1, items // 1_200)
    ends = [0.12 + 0.03 * worker for worker in range(workers)]
    timeline, took = [], []
    for first in range(0, items, chunk):
        size = min(chunk, items - first)
        worker = min(range(workers), key=ends.__getitem__)
        start = ends[worker] + (chance.uniform(0.5, 1.5) if chance.random() < 0.01 else 0.004)
        each = chance.lognormvariate(-2.4, 0.7) * (25 if chance.random() < 0.006 else 1)
        ends[worker] = start + each * size
        timeline.append([worker, round(start, 3), round(ends[worker], 3), first, size, int(first in bad)])
        took.append(each)
    return timeline, took


def _histogram(took: list[float]) -> list[int]:
    counts = [0] * (len(EDGES) - 1)
    for each in took:
        counts[max(0, sum(each >= edge for edge in EDGES[:-1]) - 1)] += 1
    return counts


def _slowest(took: list[float]) -> list[Record]:
    places = sorted(range(len(took)), key=took.__getitem__, reverse=True)[:20]
    return [{"index": place, "label": f"scans/{place:05}.png", "seconds": round(took[place], 3)} for place in places]


def _failure(chance: random.Random, index: int) -> Record:
    error, message = chance.choice(sorted(MESSAGES.items()))
    return {
        "index": index,
        "item": f"scans/{index:05}.png",
        "error_type": error,
        "message": message.format(index),
        "tries": 3,
    }
