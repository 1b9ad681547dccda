"""When an item is tried again: waits that grow, with jitter, kept in the task."""

from __future__ import annotations

import pytest

from airflow_joblib.fan_out.retries import Retries
from airflow_joblib.system import clock


@pytest.mark.parametrize("delay", [0.5, 1.0, 20.0])
@pytest.mark.parametrize("tries", [1, 2, 3, 6])
def test_waits_grow(delay: float, tries: int) -> None:
    """The wait doubles with each try, and is longer by up to the first one's length, at random."""
    waits = [Retries(10, delay).plan(0, "item", tries) for _ in range(50)]
    least = delay * 2 ** (tries - 1)
    assert all(wait is not None and least <= wait <= least + delay for wait in waits)
    assert len(set(waits)) > 10


def test_wait_that_an_item_asks_for() -> None:
    """An item's own wait takes the place of the computed one, with up to a tenth of it more at random."""
    waits = [Retries(10, 60.0).plan(0, "item", 3, 2.0) for _ in range(50)]
    assert all(wait is not None and 2.0 <= wait <= 2.2 for wait in waits)
    assert len(set(waits)) > 10
    assert Retries(10, 60.0).plan(0, "item", 1, 0.0) == 0.0
    assert Retries(2, 60.0).plan(0, "item", 3, 2.0) is None


def test_no_delay() -> None:
    """Without a delay a retry is due at once."""
    retries = Retries(3, 0.0)
    assert retries.plan(4, "item", 3) == 0
    assert retries.due() == (4, "item")


@pytest.mark.parametrize("most", [0, 1, 3])
def test_tries_are_limited(most: int) -> None:
    """An item gets as many tries after the first as the option says."""
    retries = Retries(most, 0.0)
    planned = [tries for tries in range(1, most + 3) if retries.plan(0, "item", tries) is not None]
    assert planned == list(range(1, most + 1))


def test_in_the_order_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due first comes first, items that can't be compared included, and nothing comes before it is due."""
    now = [100.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    retries = Retries(9, 0.2)
    assert retries.next_due is None
    assert retries.due() is None
    retries.plan(7, {"late"}, 3)
    retries.plan(8, {"early"}, 1)
    first = retries.next_due
    assert first is not None
    assert first > now[0]
    assert retries.due() is None
    now[0] = first
    assert retries.due() == (8, {"early"})
    assert retries.due() is None
    second = retries.next_due
    assert second is not None
    assert second > first
    now[0] = second
    assert retries.due() == (7, {"late"})
    assert retries.next_due is None


def test_due_at_the_same_time() -> None:
    """Items due at the same moment come in the order they failed, and are never compared themselves."""
    retries = Retries(1, 0.0)
    for index in range(5):
        retries.plan(index, object(), 1)
    assert [(retries.due() or (None,))[0] for _ in range(6)] == [0, 1, 2, 3, 4, None]
