"""Sending to workers: what is sent arrives equal, large buffers lie once in shared memory, nothing is left."""

from __future__ import annotations

import io
import mmap
import multiprocessing
import os
import pickle
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from airflow_joblib import InvalidOptionError, parallel_task
from airflow_joblib.pickling.pickler import Pickler
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.shared_pickle import Sent, pack, receive, send, share_above
from tests.unit.wire.helpers import files

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def through(obj: object, above: int | None = MIB) -> Any:
    shared, (sent,) = send(pack(obj, share_above=above))
    with shared:
        return receive(pickle.loads(pickle.dumps(sent)))


def layouts(array: Any) -> list[Any]:
    """Return an array as others may hold it: Fortran order, with gaps, backwards, without shape."""
    return [array, np.asfortranarray(array), array[::2], array[..., ::-1], array.T, array.reshape(-1)]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=200)
dtypes = st.sampled_from(["?", "i1", "<u4", ">f8", "c16", "M8[s]", ">m8[Y]", "S3", "<U2"]).map(np.dtype)
array = arrays.arrays(dtypes, arrays.array_shapes(max_dims=3, max_side=8))
leaf: Any = plain | array.flatmap(lambda one: st.sampled_from(layouts(one))) | st.binary().map(bytearray)
nested: Any = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        # NumPy's own pickles bring some kinds in the machine's byte order.
        kinds = one.dtype.newbyteorder("="), other.dtype.newbyteorder("=")
        return bool(
            kinds[0] == kinds[1]
            and one.shape == other.shape
            and np.array_equal(one, other, equal_nan=one.dtype.kind in "fcmM")
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and type(one) is type(other)


@settings(max_examples=60)
@given(nested, st.sampled_from([0, 10, None]))
def test_round_trip(obj: Any, above: int | None) -> None:
    """Nested objects with arrays of any layout arrive equal, whatever is shared of them."""
    assert same(obj, through(obj, above))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.binary())
def test_buffers_are_aligned_and_read_only(sizes: list[int], between: bytes) -> None:
    """Shared arrays start at multiples of 64 bytes and can't be written to."""
    received, kept = through(([np.arange(size, dtype="u1") for size in sizes], between), 0)
    assert kept == between
    for size, one in zip(sizes, received, strict=True):
        assert one.ctypes.data % 64 == 0
        assert (one == np.arange(size, dtype="u1")).all()
        with pytest.raises(ValueError, match="read-only"):
            one[0] = 1


def test_small_arrays_stay_writable() -> None:
    """Up to 1 MiB a worker has an array of its own, and so it has where sharing is turned off."""
    for one in (through(np.zeros(MIB, "u1")), through(np.zeros(2 * MIB, "u1"), None)):
        one[0] = 1
    assert not through(np.zeros(MIB + 1, "u1")).flags.writeable


def test_large_buffers_are_not_copied() -> None:
    """Packing copies no large buffer, and receiving copies none either: it lies in the mapped memory."""
    array = np.zeros(2 * MIB, "u1")
    packed = pack(array)
    assert packed.data.nbytes < 1000
    assert np.shares_memory(np.frombuffer(packed.buffers[0], "u1"), array)
    base = through(array)
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(memoryview(base).obj, mmap.mmap)


@pytest.mark.parametrize("cut", [np.s_[::2], np.s_[:, ::3], np.s_[:, ::-1]])
def test_arrays_with_gaps_are_shared_too(cut: Any) -> None:
    """An array that is a part of another, with gaps, is sent without the rest and shared."""
    part = np.arange(3_000_000.0).reshape(1000, 3000)[cut]
    packed = pack(part)
    assert (packed.data.nbytes < 1000, [one.nbytes for one in packed.buffers]) == (True, [part.nbytes])
    received = through(part)
    assert (received == part).all()
    assert not received.flags.writeable


def at(item: int, array: Any) -> float:
    return float(array[item])


class Loaded:
    """Runs code of its own when it is loaded."""

    def __setstate__(self, state: object) -> None:
        """Take the state."""


def test_only_the_unsure_is_loaded_here() -> None:
    """Arguments whose loading runs no code of the user are not loaded in the task to see whether they can be."""
    for shared, unsure in (({"a": [1]}, False), ({"a": Loaded()}, True)):
        pickler = Pickler(io.BytesIO())
        pickler.dump(Call(at, shared=shared))
        assert pickler.unsure is unsure


def test_tables() -> None:
    """A DataFrame's columns are shared, and it arrives equal."""
    frame = pd.DataFrame({"a": np.arange(200_000), "b": np.ones(200_000), "c": ["x", "y"] * 100_000})
    assert len(pack(frame).buffers) == 2
    pd.testing.assert_frame_equal(through(frame), frame)


class Writes:
    """Changes its array when it is loaded."""

    def __init__(self) -> None:
        self.array = np.zeros(2 * MIB, "u1")

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["array"][0] = 1


def test_verifying_leaves_the_original_alone() -> None:
    """Trying to load does not write to the sender's own array; it fails as it would in a worker."""
    writes = Writes()
    with pytest.raises(ValueError, match="read-only"):
        pack(writes, verify=True)
    assert not writes.array.any()


class TestMappedFiles:
    """An array that maps a file travels as the file's name."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "array"
        np.arange(100.0).tofile(path)
        return path

    def test_parts_of_it(self, file: Path) -> None:
        """Any part arrives equal, read-only as it was, with nothing of it in the pickle."""
        whole: Any = np.memmap(file, mode="r", dtype=float, shape=(20, 5), offset=0)
        for part in (whole, whole[3:, 1::2], np.asarray(whole)[::-2], whole.T):
            packed = pack(part, share_above=0)
            assert not packed.buffers
            received = through(part)
            assert (received == part).all()
            assert not received.flags.writeable

    def test_private_changes(self, file: Path) -> None:
        """Where the file is not what the array holds, the values travel."""
        private: Any = np.memmap(file, mode="c", dtype=float)
        private[0] = 42
        gone: Any = np.memmap(file, mode="r", dtype=float)
        file.unlink()
        for array in (private, gone, gone + 1):
            assert (through(array, 0) == array).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, MIB), ({"max_nbytes": 5}, 5), ({"max_nbytes": "2K"}, 2048), ({"max_nbytes": None}, None)],
)
def test_share_above(given: dict[str, Any], expected: int | None) -> None:
    """The option of joblib says from which size on buffers are shared."""
    assert share_above(given) == expected


@pytest.mark.parametrize("wrong", ["much", [1], "5T5"])
def test_share_above_wrong(wrong: Any) -> None:
    """What is no size is an error that says so, before anything runs."""
    with pytest.raises(InvalidOptionError, match="max_nbytes"):
        parallel_task(n_jobs=2, backend_options={"max_nbytes": wrong})(at)([1, 2], None)


def test_several_objects_share_one_memory() -> None:
    """Objects sent together have a handle each, equal by value, and one memory."""
    shared, sent = send(pack([1]), pack(np.zeros(2 * MIB)), pack("x"))
    with shared:
        assert {one.path for one in sent} == {shared.path}
        assert sent[0] == Sent(*sent[0])
        assert (receive(sent[0]), receive(sent[1]).nbytes, receive(sent[2])) == ([1], 16 * MIB, "x")


def test_received_outlives_the_memory() -> None:
    """What a worker has received stays whole when the task lets go; whoever comes later is refused."""
    shared, (sent,) = send(pack(np.ones(2 * MIB, "u1")))
    with shared:
        received = receive(sent)
    assert received.sum() == 2 * MIB
    with pytest.raises(OSError, match="No such file"):
        receive(sent)


def test_plain_bytes() -> None:
    """Bytes are loaded as they are: workers on another machine get these."""
    assert receive(pickle.dumps([1])) == [1]


def hold(sent: Sent, ready: Any) -> None:
    array = receive(sent)
    ready.send(array.nbytes)
    time.sleep(60)


def test_killed_worker_keeps_nothing() -> None:
    """A worker killed while it has the memory mapped leaves no file, and the next one maps it again."""
    before = files()
    shared, (sent,) = send(pack(np.ones(2 * MIB, "u1")))
    with shared:
        for _ in range(2):
            here, there = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(target=hold, args=(sent, there))
            process.start()
            assert here.recv() == 2 * MIB
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
    assert files() == before
