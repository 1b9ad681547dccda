"""How many items go into a chunk, by what the last ones took."""

from __future__ import annotations

from airflow_joblib.fan_out.chunk_size import Sizes


class TestSizes:
    """The sizes of a lazy iterator's chunks."""

    def test_fixed(self) -> None:
        """``batch_size`` holds, whatever chunks take."""
        sizes = Sizes(7)
        sizes.learn(7, 0.000001)
        assert sizes.next() == 7

    def test_grow_with_quick_items(self) -> None:
        """Chunks of quick items double, up to a bound."""
        sizes = Sizes("auto")
        seen = []
        for _ in range(20):
            seen.append(sizes.next())
            sizes.learn(seen[-1], 1e-7 * seen[-1])
        assert seen[:5] == [1, 2, 4, 8, 16]
        assert seen[-1] == 4096

    def test_shrink_with_slow_items(self) -> None:
        """Chunks of slow items go back to one item."""
        sizes = Sizes("auto")
        for _ in range(8):
            sizes.learn(sizes.next(), 1e-6)
        sizes.learn(100, 100.0)
        assert sizes.next() == 1

    def test_no_time_at_all(self) -> None:
        """A clock that stood still is no division by zero; a chunk that ran nothing teaches nothing."""
        sizes = Sizes("auto")
        sizes.learn(1, 0.0)
        assert sizes.next() == 2
        sizes.learn(0, 5.0)
        assert sizes.next() == 2


def test_rate() -> None:
    """No chunk has more items than may soon start in one worker, however quick they are; a given number holds."""
    sizes, fixed = Sizes("auto", 0.5, rate=2000), Sizes(70, 0.5, rate=2000)
    for one in (sizes, fixed):
        for _ in range(20):
            one.learn(1000, 0.0001)
    assert (sizes.part(100_000, 2), sizes.next(2), sizes.worth(100_000, 2), sizes.rest(1000, 10, 1e-4, 2)) == (
        5,
        5,
        5,
        5,
    )
    assert (fixed.part(100_000, 2), fixed.next(2), fixed.rest(1000, 10, 1e-4, 2)) == (70, 70, 1000)
    assert Sizes("auto", rate=1 / 60).part(100_000, 2) == 1


def test_least() -> None:
    """As many items as make some milliseconds of work are worth a dispatch, unless a number was asked for."""
    sizes, fixed = Sizes("auto"), Sizes(7)
    for one in (sizes, fixed):
        one.learn(1000, 0.0001)
    assert sizes.worth(None, 2) == 50_000
    assert sizes.worth(1_000_000, 2) == 50_000
    assert sizes.worth(30_000, 2) == 15_000  # a worker's share of what is left
    assert sizes.worth(100, 2) == 10_000  # until the work is not worth it
    sizes.learn(10, 0.005)
    assert sizes.worth(100, 2) == 2
    assert fixed.worth(100, 2) == 1
    sizes.learn(10, 1.0)
    assert sizes.worth(100, 2) == 1


def test_chunks_for_a_cluster() -> None:
    """Where a dispatch is dear half a worker's share goes at once, at least what is worth one, less than a slice."""
    sizes = Sizes("auto", slice_seconds=1.2, dispatch_seconds=0.3)
    assert [sizes.worth(left, 2) for left in (10**6, 5000, 1, None)] == [1000, 625, 1, 1]  # nothing is known yet
    sizes.learn(100, 0.2)
    assert [sizes.worth(left, 2) for left in (5000, 1200, 100)] == [449, 300, 150]
    sizes.learn(1, 5)
    assert sizes.worth(3, 2) == 1
    assert Sizes(7).worth(5000, 2) == 1


def test_items_done_by_an_earlier_try() -> None:
    """Of items that did not run nothing is learnt of what a chunk costs: lazy ones are not all drawn at once."""
    sizes = Sizes("auto")
    sizes.learn(100, 0.0)
    assert sizes.worth(None, 2) == 1
    assert sizes.next() == 2
