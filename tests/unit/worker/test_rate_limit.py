"""The rate of a run: how close starts come, over threads and processes, and whatever becomes of who waits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.system import clock
from airflow_joblib.wire.records import Rules
from airflow_joblib.wire.status_board import Slot, StatusBoard
from airflow_joblib.worker.rate_limit import OwnCell, RateLimit, carried_on, rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORK = multiprocessing.get_context("fork")
DAY = 86_400.0


def most_within(starts: Sequence[float], seconds: float) -> int:
    """Return the most starts in any span of so many seconds."""
    starts = sorted(starts)
    return max(bisect_left(starts, first + seconds) - index for index, first in enumerate(starts))


def after(looks: int) -> Callable[[], bool]:
    """Return what says that no item may start any more, once it has been asked so often."""
    left = iter(range(looks))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("rate", [0.5, 1, 3, 10, 15, 39, 40, 100, 1000])
def test_any_second(rate: float) -> None:
    """No second has more starts than the rate and half of the bucket; the other half is for those that come late."""
    limit = RateLimit(rate)
    starts = [limit.reserve() for _ in range(int(3 * rate) + 3)]
    assert starts == sorted(starts)
    assert most_within(starts, 1) <= rate + max(1, rate / 20)
    assert most_within(starts, 1 + 0.05) <= rate + max(1, rate / 10)


@pytest.mark.parametrize("rate", [0.1, 7, 1000])
def test_long_run(rate: float) -> None:
    """Who asks for more than the rate gives gets all of it."""
    limit = RateLimit(rate)
    starts = [limit.reserve() for _ in range(1001)]
    assert 950 / rate <= starts[-1] - starts[0] <= 1000 / rate + 0.5


def test_idle_time_is_not_saved_up() -> None:
    """After any time without items no more can start at once than a bucket has."""
    limit = RateLimit(100)
    before = clock.now()
    starts = [limit.reserve() for _ in range(20)]
    now = clock.now()
    assert sum(start <= now for start in starts) <= 5 + 100 * (now - before) + 1


def test_in_turn() -> None:
    """Workers get starts in the order in which they ask, however many each has had."""
    cell = OwnCell()
    workers = [RateLimit(10, cell) for _ in range(3)]
    starts = [workers[number % 3].reserve() for number in range(30)]
    gaps = [later - start for start, later in pairwise(starts)]
    assert all(gap == pytest.approx(0.1, abs=0.02) for gap in gaps[1:]), "each worker has every third"


def reserve(path: str, results: Any) -> None:
    limit = RateLimit(100, Slot(path).next_start)
    results.put([limit.reserve() for _ in range(500)])


def test_processes_share_a_bucket() -> None:
    """Several processes that ask at the same time get different starts, and together no more than one would."""
    results = FORK.SimpleQueue()
    with StatusBoard() as board:
        workers = [FORK.Process(target=reserve, args=(board.path, results)) for _ in range(4)]
        for worker in workers:
            worker.start()
        starts = sorted(start for _ in workers for start in results.get())
        for worker in workers:
            worker.join(60)
    assert len(starts) == 2000
    assert most_within(starts, 1) <= 106
    assert starts[-1] - starts[0] >= 19.9


def hold(path: str, held: Any) -> None:
    with Slot(path).next_start():
        held.set()
        signal.pause()


def test_killed_with_the_lock() -> None:
    """A process that is killed while it reserves a start holds nobody up."""
    held = FORK.Event()
    with StatusBoard() as board:
        worker = FORK.Process(target=hold, args=(board.path, held))
        worker.start()
        assert held.wait(60)
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(60)
        assert RateLimit(1, Slot(board.path).next_start).reserve() <= clock.now()


def test_lock_is_kept_by_other_workers_of_the_board() -> None:
    """A worker that claims its row while another one reserves a start doesn't wait for that, nor break it."""
    held, over = FORK.Event(), FORK.Event()

    def claim() -> None:
        Slot(board.path)
        over.set()

    with StatusBoard() as board:
        holder = FORK.Process(target=hold, args=(board.path, held))
        holder.start()
        assert held.wait(60)
        other = FORK.Process(target=claim)
        other.start()
        try:
            assert over.wait(60)
        finally:
            os.kill(holder.pid or 0, signal.SIGKILL)
            holder.join(60)
            other.join(60)


def test_an_ended_wait_keeps_its_start() -> None:
    """Who stops waiting, as a chunk is handed back, has the same start for its next item."""
    limit = RateLimit(1 / DAY)
    assert limit.wait(bool)
    assert not limit.wait(after(3))
    assert limit.waited > 0
    start = limit.reserve()
    assert start == pytest.approx(clock.now() + DAY, abs=60)
    limit.give_back(start)
    assert not limit.wait(after(3))
    assert limit.reserve() == start
    assert limit.reserve() == pytest.approx(start + DAY, abs=60)


def test_an_interrupted_wait_keeps_its_start() -> None:
    """So has who is interrupted by an exception."""

    def interrupt() -> bool:
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return False

    looks = iter(range(2))
    limit = RateLimit(1 / DAY)
    start = limit.reserve() + DAY
    with pytest.raises(KeyboardInterrupt):
        limit.wait(interrupt)
    assert limit.reserve() == pytest.approx(start)


def test_nothing_is_reserved_where_nothing_may_start() -> None:
    """Who is told before it asks that no item may start takes none from the others."""
    limit = RateLimit(1 / DAY)
    assert not limit.wait(lambda: True)
    assert limit.reserve() <= clock.now()


def test_late_start() -> None:
    """A start that comes much too late is not used: with those of others it would be one too many."""
    limit = RateLimit(10)
    now = clock.now()
    assert not limit.is_late(now)
    assert limit.is_late(now - 1)
    limit.give_back(now - 1)
    assert limit.reserve() >= now


def test_late_for_a_slow_rate() -> None:
    """Where one item a minute may start, some seconds late are not too late, and cost no minute."""
    limit = RateLimit(1 / 60)
    assert not limit.is_late(clock.now() - 5)
    assert limit.is_late(clock.now() - 45)


def test_the_next_pool_goes_on() -> None:
    """Workers of a new pool wait for the next start, though not for those that the lost ones had reserved."""
    cell = OwnCell()
    lost = [RateLimit(1 / 60, cell) for _ in range(8)]
    for worker in lost:
        worker.reserve()
    with cell() as number:
        full = number[0]
        number[0] = carried_on(full, 1 / 60)
    assert RateLimit(1 / 60, cell).reserve() == pytest.approx(clock.now() + 60, abs=5)
    assert carried_on(0, 5) == 0, "a bucket that was full stays so"


def test_parts_of_a_rate() -> None:
    """Workers that can share no bucket, as a cluster's, have a part of the rate each; without a rate none waits."""
    assert rate_limit(Rules()) is None
    alone = rate_limit(Rules(rate=100, workers=50))
    assert alone is not None
    starts = [alone.reserve() for _ in range(11)]
    assert starts[-1] - starts[0] == pytest.approx(5, abs=0.1)
