"""Chunks: pickling them checks them, and several are sent as one."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING

import pytest

from airflow_joblib import NotPicklableError
from airflow_joblib.fan_out.chunk_size import Sizes
from airflow_joblib.fan_out.items import cut
from airflow_joblib.wire.chunk import ItemChunk, Packer, load_items

if TYPE_CHECKING:
    from pathlib import Path


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
