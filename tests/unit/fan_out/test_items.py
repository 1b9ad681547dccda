"""Items: how they are drawn and cut into chunks, lazily where nobody knows their number."""

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
from tests.unit.helpers import square_or_repeat, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

CHEAP = ("multiprocessing", "threading", "sequential")


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


class TestLazyItems:
    """An iterator of unknown length is drawn as its items are needed."""

    def test_not_drawn_far_ahead(self) -> None:
        """No more items are drawn than the workers have in hand and before them."""
        finished: list[int] = []
        ahead: list[int] = []

        def source() -> Iterator[int]:
            for number in range(3000):
                ahead.append(number - len(finished))
                yield number

        def work(item: int) -> int:
            finished.append(item)
            return item

        assert task(work, backend="threading", batch_size=5)(source()) == list(range(3000))
        assert max(ahead) <= 64 + 2 * 2 * 5 + 2 * 5  # what is looked at first, what is under way, what is being counted

    @pytest.mark.parametrize("backend", CHEAP)
    def test_endless(self, backend: str) -> None:
        """An endless iterator ends with the first failure."""

        def fail_later(item: int) -> int:
            if item == 500:
                raise LookupError(item)
            return item

        with pytest.raises(LookupError) as caught:
            task(fail_later, backend=backend, batch_size=10)(itertools.count())
        assert "item 500 " in caught.value.__notes__[0]

    @pytest.mark.parametrize("backend", CHEAP)
    def test_iterator_that_fails(self, backend: str) -> None:
        """What the iterator itself raises leaves the run as it is, with no item's note."""

        def source() -> Iterator[int]:
            yield from range(200)
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError, match="gone") as caught:
            task(square_or_repeat, backend=backend)(source())
        assert not hasattr(caught.value, "__notes__")

    def test_culprit_late_in_the_iterator(self) -> None:
        """An item that can't travel is found when it is drawn, and named by its position."""
        items = (threading.Lock() if number == 300 else number for number in itertools.count())
        with pytest.raises(NotPicklableError) as caught:
            task(square_or_repeat, backend="multiprocessing")(items)
        assert caught.value.path.startswith("item 300")

    def test_a_fan_out_as_items(self) -> None:
        """Items may be drawn from another fan-out; on loky the inner one runs in this process, with a warning."""
        inner, outer = task(square_or_repeat, backend="loky"), task(square_or_repeat, backend="loky")

        def items() -> Iterator[int]:
            yield from range(50)
            yield from inner([1, 2, 3])

        assert outer(items()) == [outer.function(item) for item in [*range(50), *map(inner.function, [1, 2, 3])]]

    def test_several_fan_outs_as_items(self, caplog: pytest.LogCaptureFixture) -> None:
        """A fan-out over other processes that is drawn from in between doesn't change what loky's may do."""
        tasks = [task(square_or_repeat, backend=backend) for backend in ("multiprocessing", "loky")]

        def items() -> Iterator[int]:
            yield from range(50)
            for inner in tasks:
                yield from inner([1, 2, 3])

        drawn = [tasks[0].function(item) for item in [1, 2, 3]]
        outer = task(square_or_repeat, backend="loky")
        assert outer(items()) == [outer.function(item) for item in [*range(50), *drawn, *drawn]]
        assert "drawn from it" in caplog.text
