"""The timeline: who ran what and when, in few entries whose sums stay true."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_joblib.fan_out.record.timeline import MOST, ROWS, Entry, Timeline, folded, merged

Chunk = tuple[int, float, float, int, int]
chunks = st.lists(
    st.tuples(st.integers(0, 300), st.floats(0, 5), st.floats(0, 2), st.integers(0, 5000), st.integers(0, 5)),
    max_size=60,
)


def timeline(found: list[Chunk], rows: int, times: int = 1) -> Timeline:
    """Make one of so many workers, each of which goes from chunk to chunk."""
    made, ends = Timeline(rows), dict.fromkeys(range(301), 0.0)
    for _ in range(times):
        for worker, pause, seconds, items, failed in found:
            start = ends[worker] + pause
            ends[worker] = start + seconds
            made.add((worker, 0), Entry(start, start + seconds, 0, items, min(items, failed)))
    return made


@given(chunks, st.integers(0, 400), st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_sums_stay_true(found: list[Chunk], rows: int, times: int) -> None:
    """However many chunks there are, the entries are few and count each try and each failure once."""
    shown = timeline(found, rows, times).rows()
    entries = [entry for row in shown for entry in row]
    assert len(shown) <= ROWS
    assert len(entries) <= max(MOST, len(shown))
    assert sum(entry.items for entry in entries) == times * sum(chunk[3] for chunk in found)
    assert sum(entry.failed for entry in entries) == times * sum(min(chunk[3], chunk[4]) for chunk in found)
    few = [entry for row in folded(shown, 3) for entry in row]
    assert len(few) <= 3
    assert sum(entry.items for entry in few) == sum(entry.items for entry in entries)


@given(chunks)
@settings(deadline=None, max_examples=25)
def test_rows_go_on_in_time(found: list[Chunk]) -> None:
    """A row's entries follow each other, from its first start to its last end, where each worker has a row."""
    made = timeline(found, 301 if len({chunk[0] for chunk in found}) > ROWS else 200, 30)
    for row in made.rows():
        starts = [entry.start for entry in row]
        if len({chunk[0] for chunk in found}) <= ROWS:
            assert starts == sorted(starts)
            assert all(before.end <= after.start for before, after in itertools.pairwise(row))


def test_idle_time_is_seen() -> None:
    """What lies far apart is not merged as long as nearer neighbours are there."""
    row = [
        Entry(second + part / 1000, second + (part + 0.9) / 1000, 0, 1, 0) for second in (0, 5) for part in range(500)
    ]
    (shown,) = merged([row], 100)
    assert len(shown) <= 100
    assert max(after.start - before.end for before, after in itertools.pairwise(shown)) == pytest.approx(4.5, abs=0.1)


def test_worker_that_replaces_another_takes_its_row() -> None:
    """The row of the worker that has been still the longest goes to a new one."""
    made = Timeline(2)
    for worker, start in ((1, 0.0), (2, 0.5), (2, 2.0), (3, 3.0), (3, 4.0), (2, 5.0)):
        made.add((worker, 0), Entry(start, start + 0.4, 0, 1, 0))
    assert [[entry.start for entry in row] for row in made.rows()] == [[0.0, 3.0, 4.0], [0.5, 2.0, 5.0]]


def test_row_of_a_dead_worker() -> None:
    """A new worker takes the row of the one that is gone, not that of one which is busy with a long item."""
    made = Timeline(2)
    made.add((1, 0), Entry(0, 1, 0, 1, 0))
    made.add((2, 0), Entry(0, 5, 1, 1, 0))
    made.release(lambda worker: worker[0] == 2)
    for worker, start, end in ((3, 6, 7), (1, 1, 20), (3, 7, 21)):
        made.add((worker, 0), Entry(start, end, 2, 1, 0))
    assert [[entry.end for entry in row] for row in made.rows()] == [[1, 20], [5, 7, 21]]


def test_empty_row_is_left_to_a_worker_that_has_not_reported() -> None:
    """A new worker takes a dead one's row while one that runs a long item from the start has none yet."""
    made = Timeline(2)
    made.add((1, 0), Entry(0, 2, 1, 1, 0))
    made.release(lambda worker: worker[0] == 1)
    made.add((3, 0), Entry(3, 4, 2, 1, 0))
    made.add((2, 0), Entry(0, 5, 0, 1, 0))
    assert [[entry.end for entry in row] for row in made.rows()] == [[2, 4], [5]]


def test_merged_entry() -> None:
    """A merged entry begins with the first item of the earlier one, and counts both."""
    (row,) = merged([[Entry(0, 1, 7, 3, 1), Entry(1.5, 2, 20, 4, 0)]], 1)
    assert row == [Entry(0, 2, 7, 7, 1)]
