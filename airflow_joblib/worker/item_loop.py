"""The loop over the items of a chunk: all that our own code costs an item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.system.clock import for_loops, now_ns
from airflow_joblib.wire.durations import QUICK
from airflow_joblib.wire.status_board import INDEX, SINCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.records import Report

__all__ = ["LOOK", "run_items"]

#: Seconds between two looks around; to look costs more than a small item.
LOOK = 0.001
#: The same before the first look.
_FIRST_LOOK = 0.0001


def run_items(  # noqa: PLR0913 - what a chunk's items need
    function: Callable[[Any], Any],
    items: Sequence[Any],
    indices: Sequence[int],
    report: Report,
    row: memoryview,
    *,
    timed: bool,
    catch: type[BaseException],
    failed: Callable[[BaseException, int, float], bool],
    ended: Callable[[], bool],
    every: float = LOOK,
) -> None:
    """Run the items of one chunk, and keep their results in its report.

    Args:
        function: The function of one item.
        items: The items.
        indices: Their positions in the input.
        report: Where results go, which item was the slowest, and how long those took that are not quick.
        row: Where the item that runs is shown (:mod:`airflow_joblib.wire.status_board`).
        timed: Whether it is shown as well since when.
        catch: What counts as an item's failure.
        failed: Takes note of a failure and of how long the try took; returns whether the next item may start.
        ended: Returns whether no further item may start. What it waits counts for no item.
        every: Seconds between two calls of that, more where an item takes longer; 0 for one before each item.

    Raises:
        BaseException: What came between two items, such as a signal, or is no item's failure.
    """
    clock, since, keep = for_loops(), now_ns, report.values.append
    bar = min(report.slowest_seconds, QUICK)  # one comparison for an item that is neither the slowest nor slow
    now = look = clock()
    for index, item in zip(indices, items, strict=True):
        if now >= look:
            if ended():
                return
            now = clock()
            look = now + (every if report.values else min(every, _FIRST_LOOK))
        if timed:
            row[SINCE] = since()
        row[INDEX] = index + 1
        try:
            value = function(item)
        except catch as error:
            if not failed(error, index, clock() - now):
                return
        else:
            keep(value)
        before, now = now, clock()
        if now - before > bar:
            bar = _note(report, now - before, index)


def _note(report: Report, seconds: float, index: int) -> float:
    """Take note of an item that is the slowest so far, or slow; returns from when on the next one is either."""
    if seconds > report.slowest_seconds:
        report.slowest_seconds = seconds
        report.slowest = index
    if seconds > QUICK:
        report.slow.append((seconds, index))
    return min(report.slowest_seconds, QUICK)
