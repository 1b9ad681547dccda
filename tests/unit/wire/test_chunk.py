"""Items and chunks: how they are cut, and that pickling them checks them."""

from __future__ import annotations

import itertools
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib import NotPicklableError
from airflow_joblib.fan_out.chunk_size import Sizes
from airflow_joblib.fan_out.items import cut, draw
from airflow_joblib.wire.chunk import ItemChunk, Packer, load_items

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal


def test_draw_takes_no_more_than_asked() -> None:
    """Of a lazy iterator only the first items are drawn, and none is lost."""
    source = itertools.count()
    head, rest = draw(source, ahead=5)
    assert head == [0, 1, 2, 3, 4]
    assert rest is not None
    assert next(source) == 5


@pytest.mark.parametrize(("length", "known"), [(0, True), (4, True), (5, False), (6, False)])
def test_draw_to_the_end(length: int, known: bool) -> None:
    """A lazy iterator shorter than what is drawn ahead has a known length."""
    head, rest = draw(iter(range(length)), ahead=5)
    assert (rest is None) == known
    assert [*head, *(rest or ())] == list(range(length))


def test_draw_a_sized_iterable() -> None:
    """Items of known number are taken at once, a set as well as an array."""
    assert draw(tuple(range(1000)), ahead=5) == (list(range(1000)), None)
    assert draw({3}, ahead=5) == ([3], None)


batch_sizes: st.SearchStrategy[int | Literal["auto"]] = st.one_of(st.just("auto"), st.integers(1, 50))


@given(st.lists(st.integers() | st.text()), st.integers(1, 20), batch_sizes, st.booleans())
def test_cut_loses_nothing(items: list[Any], workers: int, batch_size: int | Literal["auto"], packed: bool) -> None:
    """Chunks hold every item once, in order, and know the position of their first."""
    packer = Packer(1 << 20) if packed else None
    chunks = []
    for chunk in cut(range(len(items)), items, workers, Sizes(batch_size), packer):
        if packer is not None:
            packer.check(chunk)
        chunks.append(chunk)
    assert [item for chunk in chunks for item in chunk.items] == items
    assert [chunk.first for chunk in chunks] == list(itertools.accumulate((len(c.items) for c in chunks), initial=0))[
        :-1
    ]
    assert all(chunk.items for chunk in chunks)
    if batch_size != "auto":
        assert all(len(chunk.items) <= batch_size for chunk in chunks)
    if packed:
        assert [item for chunk in chunks for item in pickle.loads(chunk.data)] == items


def test_cut_shrinks_to_single_items() -> None:
    """Chunks shrink towards the end, so that workers end together, and every worker gets some."""
    sizes = [len(chunk.items) for chunk in cut(range(1000), range(1000), 4, Sizes("auto"), None)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 1000 // 32
    assert sizes[-8:] == [1] * 8
    assert [len(chunk.items) for chunk in cut(range(3), range(3), 4, Sizes("auto"), None)] == [1, 1, 1]


def test_large_items_make_small_chunks() -> None:
    """Where items are large, a chunk takes fewer than its share, so that it fits a pipe and the memory."""
    packer = Packer(1 << 30)
    sizes = []
    for chunk in cut(range(40), [bytes([n]) * (6 << 20) for n in range(40)], 1, Sizes("auto"), packer):
        packer.check(chunk)
        sizes.append(len(chunk.items))
    assert sizes[0] == 5
    assert max(sizes[1:]) == 2


def test_budget(tmp_path: Path) -> None:
    """Pickles are kept within the budget; a chunk beyond it is checked, let go, and pickled again when it is due."""
    packer = Packer(budget=1000)
    chunks = list(cut(range(4), [bytes(400)] * 4, 1, Sizes(1), packer))
    for chunk in chunks:
        packer.check(chunk)
    assert [chunk.packed is not None for chunk in chunks] == [True, True, False, False]
    assert all(pickle.loads(chunk.data) == [bytes(400)] for chunk in chunks)
    assert chunks[3].packed is None


def test_culprits_of_every_chunk() -> None:
    """The check goes on after the first culprit, and names each by its position among all items."""
    packer = Packer(1 << 20)
    items: list[object] = [1, threading.Lock(), 3, 4, {"a": threading.Lock()}, 6]
    for chunk in cut(range(6), items, 1, Sizes(2), packer):
        packer.check(chunk)
    assert [culprit.path.partition(" →")[0].partition("[")[0] for culprit in packer.culprits] == ["item 1", "item 4"]


def test_lazy_culprit() -> None:
    """A chunk of a lazy iterator is checked when it is pickled to be sent."""
    with pytest.raises(NotPicklableError) as caught:
        ItemChunk([70, 71], [1, threading.Lock()], Packer(0)).data
    assert caught.value.path.startswith("item 71")


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


class TestJoined:
    """Chunks that are sent as one, since their items are quick."""

    def test_keeps_pickles(self) -> None:
        """The pickles that the check made are sent, one after the other, and the positions stay a range."""
        packer = Packer(1 << 20)
        chunks = list(cut(range(10), list("abcdefghij"), 1, Sizes(3), packer))
        for chunk in chunks:
            packer.check(chunk)
        whole = ItemChunk.joined(chunks)
        assert (whole.indices, whole.items) == (range(10), list("abcdefghij"))
        assert whole.data == b"".join(chunk.packed or b"" for chunk in chunks)
        assert load_items(whole.data) == list("abcdefghij")

    def test_beyond_the_budget(self) -> None:
        """Where no pickle was kept it is made when the chunk is due."""
        chunks = [ItemChunk([1], ["a"], Packer(0)), ItemChunk([3], ["b"], Packer(0))]
        whole = ItemChunk.joined(chunks)
        assert list(whole.indices) == [1, 3]
        assert load_items(whole.data) == ["a", "b"]
        assert load_items(whole.part(1).data) == ["b"]

    def test_least(self) -> None:
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


def test_range() -> None:
    """A range is sent as the ends of its parts, and its items arrive all the same."""
    items, rest = draw(range(0, 3000, 3), 4)
    assert (items, rest) == (range(0, 3000, 3), None)
    packer = Packer(1 << 20)
    chunks = list(cut(range(1000), items, 2, Sizes("auto"), packer))
    for chunk in chunks:
        packer.check(chunk)
        assert len(chunk.data) < 100
    assert load_items(ItemChunk.joined(chunks).data) == list(range(0, 3000, 3))
