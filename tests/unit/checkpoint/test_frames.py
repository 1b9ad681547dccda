"""Frames: what comes back is what was kept; bytes that anything happened to are told and not used."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.checkpoint import call_key, digest
from airflow_joblib.checkpoint.frames import Frame, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = call_key("shop.clean", {})
OTHER = call_key("shop.clean", {"width": 1})


class Explodes:
    def __reduce__(self) -> Any:
        return divmod, (1, 0)


def frame(values: Sequence[Any], skipped: Sequence[int] = ()) -> bytes:
    return encode(KEY, [digest(value) for value in values], values, skipped)


def contents(found: Frame | str) -> Any:
    return found if isinstance(found, str) else (found.digests, list(found.values), found.skipped)


@given(st.lists(st.lists(st.none() | st.integers() | st.text() | st.lists(st.binary())), max_size=4), st.data())
def test_round_trip(chunks: list[list[Any]], data: st.DataObject) -> None:
    """Any number of frames, one after another, give back digests, values and what was skipped, in order."""
    skipped = [data.draw(st.sets(st.integers(0, max(0, len(values) - 1)))) if values else set() for values in chunks]
    whole = b"".join(frame(values, sorted(places)) for values, places in zip(chunks, skipped, strict=True))
    assert [contents(found) for found in decode(KEY, whole)] == [
        ([digest(value) for value in values], values, frozenset(places))
        for values, places in zip(chunks, skipped, strict=True)
    ]


WHOLE: list[list[Any]] = [[1, "a"], [], [None, {"b": [2.5]}], ["d" * 300]]
FILE = b"".join(frame(values) for values in WHOLE)
ENDS = [len(b"".join(frame(values) for values in WHOLE[:count])) for count in range(len(WHOLE) + 1)]


@given(st.integers(0, len(FILE)))
def test_incomplete_at_any_byte(size: int) -> None:
    """A file that ends anywhere gives its whole frames, and says that the last one is incomplete."""
    found = list(decode(KEY, FILE[:size]))
    whole = sum(end <= size for end in ENDS) - 1
    assert [contents(each)[1] for each in found[:whole]] == WHOLE[:whole]
    assert len(found) == whole + (size not in ENDS)
    assert all(isinstance(each, str) and "incomplete" in each for each in found[whole:])


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_changed_at_any_byte(place: int, change: int) -> None:
    """Whatever byte is changed, what its frame had is not used, what is used is right, and the trouble is told."""
    changed = bytearray(FILE)
    changed[place] ^= change
    found = list(decode(KEY, bytes(changed)))
    hit = sum(end <= place for end in ENDS) - 1
    values = [contents(each)[1] for each in found if isinstance(each, Frame)]
    assert values in (WHOLE[:hit] + WHOLE[hit + 1 :], WHOLE[:hit])  # nothing after it where its length is not known
    assert sum(isinstance(each, str) for each in found) == 1


@given(st.binary(min_size=1))
def test_foreign_bytes(data: bytes) -> None:
    """Bytes that nobody of us wrote are one trouble, and nothing is loaded from them."""
    assert len([each for each in decode(KEY, data) if isinstance(each, str)]) == 1
    assert [contents(each)[1] for each in decode(KEY, FILE + data) if isinstance(each, Frame)] == WHOLE


def test_pickle_of_another_is_never_loaded() -> None:
    """A pickle that was put where a frame should be doesn't run."""
    assert next(decode(KEY, pickle.dumps(Explodes()))) == (
        f"it is not of this library, or overwritten (from byte 0 of {len(pickle.dumps(Explodes()))})"
    )


def test_frame_of_another_call() -> None:
    """A frame of another call is told and passed over, the one behind it is used."""
    first, second = decode(KEY, encode(OTHER, [digest(1)], [1], ()) + frame([2]))
    assert isinstance(first, str)
    assert first.startswith("it is of another call (from byte 0 of ")
    assert contents(second)[1] == [2]


def test_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that another version of the library wrote says which format it has."""
    monkeypatch.setattr("airflow_joblib.checkpoint.frames.VERSION", 9)
    later = frame([1])
    monkeypatch.undo()
    (trouble,) = decode(KEY, later)
    assert isinstance(trouble, str)
    assert "format 9, and this version of the library reads format 1" in trouble


def test_values_by_value() -> None:
    """A lambda and an object of a local class come back, by cloudpickle."""

    class Local:
        field = 4

    (found,) = decode(KEY, encode(KEY, [digest(1)] * 2, [lambda: 3, Local()], ()))
    assert isinstance(found, Frame)
    function, instance = found.values
    assert (function(), instance.field) == (3, 4)


def test_classes_are_those_of_the_dag_file(dag_file: Callable[[str], Any]) -> None:
    """An object comes back as one of the DAG file's class, beside a lambda too, and when the file has moved."""
    old = dag_file("/bundles/1/shop.py")
    values = [old.Order([1]), old.Order, old.clean]
    plain = encode(KEY, [digest(1)] * 3, values, ())
    by_value = encode(KEY, [digest(1)] * 4, [*values, lambda: 3], ())
    for module in (old, dag_file("/bundles/2/shop.py")):
        for data in (plain, by_value):
            (found,) = decode(KEY, data)
            assert isinstance(found, Frame), found
            order, order_class, function = found.values[:3]
            assert order == module.Order([1])
            assert order_class is module.Order
            assert function is module.clean
        sys.modules.pop(old.__name__, None)


def test_class_that_is_gone(dag_file: Callable[[str], Any]) -> None:
    """What can't be unpickled any more is told with the reason; the frame behind it is used."""
    old = dag_file("/bundles/1/shop.py")
    data = encode(KEY, [digest(1)], [old.Order(1)], ()) + frame([2])
    new = dag_file("/bundles/2/shop.py")
    del sys.modules[old.__name__], new.Order
    trouble, second = decode(KEY, data)
    assert isinstance(trouble, str)
    assert "it can't be unpickled, AttributeError: " in trouble
    assert contents(second)[1] == [2]


def test_two_files_of_one_name(dag_file: Callable[[str], Any]) -> None:
    """Where two loaded DAG files have the name of the one that is gone, neither is taken for it."""
    old = dag_file("/bundles/1/shop.py")
    data = encode(KEY, [digest(1)], [old.Order(1)], ())
    dag_file("/a/shop.py")
    dag_file("/b/shop.py")
    del sys.modules[old.__name__]
    (trouble,) = decode(KEY, data)
    assert isinstance(trouble, str)
    assert "ModuleNotFoundError" in trouble


def test_value_that_no_one_can_pickle() -> None:
    """Encoding raises what pickling raises."""
    with pytest.raises(ZeroDivisionError):
        encode(KEY, [digest(1)], [pickle.loads(pickle.dumps(Explodes()))], ())
    with pytest.raises(TypeError, match="lock"):
        encode(KEY, [digest(1)], [__import__("threading").Lock()], ())
