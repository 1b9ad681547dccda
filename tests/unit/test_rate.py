"""``rate_limit`` in whole runs: how many items start, and what the waits for that count as.

Counts are of the times that items themselves have recorded, so a machine that is slow can't exceed them.
"""

from __future__ import annotations

import os
import signal
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.system import clock
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import Rules
from airflow_joblib.wire.status_board import INDEX, Slot
from airflow_joblib.worker.rate_limit import RateLimit
from airflow_joblib.worker.worker import Worker
from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, PROCESSES_BY_DAY, note, notes, task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
#: What pytest-timeout does by default takes the timer that a limit in the main thread takes, too.
pytestmark = pytest.mark.timeout(100, method="thread")


class Cancelled(BaseException):
    """Ends a task, as a time limit of Airflow's does."""


def when(_: object) -> float:
    return clock.now()


async def when_awaited(_: object) -> float:
    return clock.now()


def most_within(starts: Sequence[float], seconds: float) -> int:
    return max(sum(first <= start < first + seconds for start in starts) for first in starts)


both = pytest.mark.parametrize("function", [when, when_awaited], ids=["plain", "async"])


@pytest.mark.parametrize(
    ("backend", "function"),
    [*((backend, when) for backend in LOCAL), *((backend, when_awaited) for backend in LOCAL if backend != "loky")],
)
def test_over_all_workers(backend: str, function: Any) -> None:
    """The workers of a run together start no more items than the rate and the bucket allow, and no fewer for long."""
    starts = sorted(task(function, backend=backend, n_jobs=3, rate_limit=100).map(range(60)))
    assert starts[-1] - starts[0] >= (60 - 10) / 100
    assert most_within(starts, 0.2) <= 10 + 20 + 3


@local_by_day
def test_lazy_items(backend: str) -> None:
    """The rate holds for items that are drawn one by one, too."""
    starts = sorted(task(when, backend=backend, rate_limit="3000/min").map(item for item in range(30)))
    assert starts[-1] - starts[0] >= (30 - 5) / 50


@local_by_day
def test_tries_count(backend: str, tmp_path: Path) -> None:
    """Each try of an item is a start."""

    def fail_twice(item: int) -> int:
        note(tmp_path / "starts", clock.now())
        note(tmp_path / str(item))
        if len(notes(tmp_path / str(item))) < 3:
            raise LookupError
        return item

    options = {"item_retries": 2, "item_retry_delay": 0.01, "rate_limit": 40}
    assert task(fail_twice, backend=backend, **options).map(range(8)) == list(range(8))
    starts = sorted(map(float, notes(tmp_path / "starts")))
    assert len(starts) == 24
    assert starts[-1] - starts[0] >= (24 - 4) / 40


@both
@local_by_day
def test_waits_are_nobodys_time(backend: str, function: Any, log: pytest.LogCaptureFixture) -> None:
    """To wait longer than an item may take is no item's fault, nor is the run advised against its workers for it."""
    run = task(function, backend=backend, rate_limit="120/min", item_timeout=0.2).run(range(5))
    starts = sorted(run.results)
    assert starts[-1] - starts[0] >= 4 * 0.5 - 0.25
    record = run.record["runs"][0]
    assert max(item["seconds"] for item in record["slowest"]) < 0.2
    assert all(end - start < 0.4 for _, start, end, *_ in record["timeline"])
    assert any("s of it waiting for the rate)" in line for line in log.messages)
    assert not any("took the most" in line or "nothing to do" in line for line in log.messages)


@local_by_day
def test_failure_while_others_wait(backend: str) -> None:
    """The failure that ends a run ends the waits of its other workers, which would be a day."""

    def fail(_: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        task(fail, backend=backend, rate_limit="1/day").map(range(4))


@local_by_day
def test_cancelled_while_waiting(backend: str) -> None:
    """What ends the task ends the waits of all of its workers."""

    def cancel(*_: object) -> None:
        raise Cancelled

    before = signal.signal(signal.SIGUSR1, cancel)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Cancelled):
            task(when, backend=backend, rate_limit="1/day").map(range(4))
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@local_by_day
def test_restored_items_are_no_starts(backend: str, tmp_path: Path) -> None:
    """What a checkpoint has is there at once, however slow the rate."""

    def fail_on_last(item: int) -> int:
        if item == 9 and not notes(tmp_path / "failed"):
            note(tmp_path / "failed")
            raise LookupError
        return item

    first = task(fail_on_last, backend=backend, checkpoint=str(tmp_path / "kept"), batch_size=1, n_jobs=1)
    with pytest.raises(LookupError):
        first.map(range(10))
    assert first.override(rate_limit="1/day", n_jobs=2).map(range(10)) == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
def test_a_lost_worker_brings_no_burst(backend: str, tmp_path: Path) -> None:
    """Workers that take the place of lost ones wait for the next start as those would have."""

    def die_once(item: int) -> int:
        note(tmp_path / "starts", clock.now())
        if not notes(tmp_path / "died"):
            note(tmp_path / "died")
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert task(die_once, backend=backend, rate_limit="20/min").map(range(2)) == [0, 1]
    starts = sorted(map(float, notes(tmp_path / "starts")))
    assert [later - start > 2.5 for start, later in pairwise(starts)] == [True, True]


def test_chunk_that_is_handed_back() -> None:
    """A worker that would have to wait for longer than a chunk may take hands the rest back, and keeps its start."""
    limit = RateLimit(1 / 86_400)
    worker = Worker(Call(when), Rules(seconds=0.1), rate=limit)
    report = worker.run([1, 2, 3], range(3))
    assert len(report.values) == 1
    assert report.rate_waited > 0
    assert report.seconds < report.rate_waited + 0.1
    assert limit.reserve() == pytest.approx(report.began + 86_400, abs=10)


def test_who_waits_runs_no_item() -> None:
    """A worker that waits for the rate is shown as one that runs nothing, so nothing is blamed for its end."""
    slot, seen = Slot(), []

    def halted() -> bool:
        seen.append(slot.row[INDEX])
        return len(seen) > 4

    worker = Worker(Call(when), Rules(), slot=slot, rate=RateLimit(1 / 86_400))
    assert len(worker.run([1, 2], range(2), halted).values) == 1
    assert seen == [0] * len(seen)


def test_items_of_others_are_not_held() -> None:
    """While one worker runs a slow item, others start those that it has not begun."""
    slow = threading.Event()

    def work(item: int) -> str:
        if item == 0:
            assert slow.wait(60), "the others have not run"
        elif item == 39:
            slow.set()
        return threading.current_thread().name

    names = task(work, backend="threading", rate_limit=400).map(range(40))
    assert len(set(names[1:])) == 1


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    """Fail a test whose waits are not ended, long before those are over."""
    began = clock.now()
    yield
    assert clock.now() - began < 100
