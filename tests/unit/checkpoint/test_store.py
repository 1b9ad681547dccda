"""A checkpoint: what was flushed is there for the next try, each kept outcome once, and nothing stops a run."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.checkpoint import Checkpoint, Finished, LocalFolder, RemoteFolder, call_key
from tests.unit.checkpoint.helpers import KEY, keep, loaded
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalFolder | RemoteFolder]:
    """A folder of this machine, or one that is written by a thread."""
    if request.param == "local":
        yield LocalFolder(tmp_path / "kept")
        return
    from upath import UPath

    path = UPath("memory://kept/run")
    yield RemoteFolder(path)
    path.fs.store.clear()


def test_next_try_takes_what_was_kept(folder: Any) -> None:
    """The outcome of each finished item is there for the next try, and that of no other."""
    first = loaded(folder)
    assert (first.found, first.take("a")) == (0, None)
    first.add(["a", {"b": 1}], [1, [2, None]])
    first.add(["c", "d"], [None, 4], skipped={0})
    first.flush()
    second = loaded(folder)
    assert second.found == 4
    assert second.take({"b": 1}) == Finished([2, None], skipped=False)
    assert second.take("c") == Finished(None, skipped=True)
    assert second.take("e") is None
    assert second.take(threading.Lock()) is None
    second.add(["e"], [5])
    second.flush()
    third = loaded(folder)
    assert [third.take(item).value for item in "ade"] == [1, 4, 5]  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers()), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_each_kept_outcome_is_given_once(kept: list[tuple[int, int]], asked: list[int]) -> None:
    """Of items with one content the n-th asked for gets what the n-th kept one gave; beyond them there is nothing."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        checkpoint = Checkpoint(LocalFolder(Path(name)), KEY)
        for item, value in kept:
            checkpoint.add([item], [value])
        checkpoint.flush()
        checkpoint = loaded(LocalFolder(Path(name)))
        left = {item: [value for each, value in kept if each == item] for item in range(5)}
        for item in asked:
            found = checkpoint.take(item)
            assert (found and found.value) == (left[item].pop(0) if left[item] else None)


def test_beat_writes_what_is_due(folder: Any) -> None:
    """Nothing is written before the beat, all of it at the beat, and nothing again."""
    now = time.monotonic()
    checkpoint = loaded(folder)
    checkpoint.add([1], [1])
    checkpoint.beat(now)
    assert folder.names() == []
    checkpoint.beat(now + 10)
    assert eventually(lambda: len(folder.names()) == 1)
    checkpoint.beat(now + 20)
    checkpoint.flush()
    assert len(folder.names()) == 1


def test_much_is_written_at_once(tmp_path: Path) -> None:
    """Large results don't wait for the beat."""
    folder = LocalFolder(tmp_path)
    checkpoint = loaded(folder)
    checkpoint.add([1], [bytes(9 << 20)])
    checkpoint.beat(0)
    assert len(folder.names()) == 1


def test_long_runs_leave_few_files(folder: Any) -> None:
    """Hundreds of flushes, over several tries, leave dozens of files, with every item in them once."""
    for count in range(0, 600, 200):
        checkpoint = loaded(folder)
        assert checkpoint.found == count
        for item in range(count, count + 200):
            checkpoint.add([item], [item])
            checkpoint.flush()
    assert len(folder.names()) < 40
    checkpoint = loaded(folder)
    assert checkpoint.found == 600
    assert [checkpoint.take(item) for item in range(600)] == [Finished(item, skipped=False) for item in range(600)]


class Stubborn(LocalFolder):
    """A folder whose files can't be removed."""

    def remove(self, name: str) -> None:
        raise PermissionError(name)


def test_merge_that_ends_halfway(tmp_path: Path) -> None:
    """Files that were merged and are still there double nothing."""
    checkpoint = loaded(Stubborn(tmp_path))
    for item in range(16):
        checkpoint.add([item], [item])
        checkpoint.flush()
    assert len(list(tmp_path.iterdir())) == 17
    checkpoint = loaded(LocalFolder(tmp_path))
    assert checkpoint.found == 16
    assert checkpoint.take(3) == Finished(3, skipped=False)
    assert checkpoint.take(3) is None


def test_clear(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    """After success the call's files are gone, and its folder with them, but nothing of another call."""
    keep(folder, [1, 2])
    other = keep(folder, [3], call_key("shop.sort", {}))
    loaded(folder).clear()
    assert len(folder.names()) == 1
    assert loaded(folder).found == 0
    other.clear()
    assert folder.names() == []
    assert not folder.path or not Path(folder.path).exists()
    assert not caplog.records


def test_clear_drops_what_is_pending(folder: Any) -> None:
    """What was to be written when the call succeeded isn't written afterwards."""
    checkpoint = loaded(folder)
    checkpoint.add([1], [1])
    checkpoint.clear()
    checkpoint.flush()
    assert folder.names() == []


def test_other_shared_arguments(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What was kept with other shared arguments is not used, which is said with its count."""
    caplog.set_level(logging.INFO, "airflow_joblib")
    keep(folder, [1, 2, 3], call_key("shop.clean", {"width": 2}))
    keep(folder, [1], call_key("shop.sort", {}))
    checkpoint = loaded(folder)
    assert checkpoint.found == 0
    assert checkpoint.take(1) is None
    (line,) = caplog.messages
    assert line.startswith(
        "3 finished items of an earlier call are not used: its shared arguments, or what its function"
    )
    assert line.endswith(f"were others (in {checkpoint.folder}).")
    checkpoint.clear(others=True)
    assert folder.names() == []


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("stays here")


def test_what_can_not_be_kept(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Results and items that can't be pickled are not kept, which is said once with the reason; others are."""
    checkpoint = loaded(folder)
    for number in range(3):
        checkpoint.add([f"value {number}"], [Unpicklable()])
        checkpoint.add([Unpicklable()], [number])
        checkpoint.add([number], [number])
    checkpoint.flush()
    value, item = [record.getMessage() for record in caplog.records]
    assert value == "A result can't be pickled, and so finished items like it are not kept: RuntimeError: stays here"
    assert item.startswith("An item has no content to be recognised by, and so")
    assert item.endswith(": RuntimeError: stays here")
    assert loaded(folder).found == 3


def test_items_that_running_changes(folder: Any) -> None:
    """Where running changes an item, the digest made before it counts, and the changed one is not taken for another."""
    checkpoint = loaded(folder)
    item = {"a": 1}
    digests = checkpoint.digests([item])
    item.clear()
    checkpoint.add([item], ["value"], digests=digests)
    checkpoint.flush()
    checkpoint = loaded(folder)
    assert checkpoint.take({}) is None
    assert checkpoint.take({"a": 1}) == Finished("value", skipped=False)
