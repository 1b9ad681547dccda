"""What is plain data, which need not be pickled to know that it can be."""

from __future__ import annotations

import threading
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest

from airflow_joblib.pickling import plain
from airflow_joblib.pickling.plain import is_plain


class Number(int):
    """A number that is not exactly Python's."""


def itself() -> list[Any]:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


def nested(depth: int) -> list[Any]:
    """Return a list in a list, and so on."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "data",
    [
        None,
        True,
        1 << 70,
        1.5,
        1j,
        "text",
        "\ud800",
        b"bytes",
        bytearray(b"more"),
        {"a": [1, (2.0, {3})]},
        frozenset({4}),
    ],
)
def test_plain(data: object) -> None:
    """Python's own simple types and containers are, whatever is in them, if that is too."""
    assert is_plain(data) == (type(data) is not complex)


@pytest.mark.parametrize(
    "data",
    [
        Number(1),
        OrderedDict(),
        Decimal(1),
        object(),
        int,
        len,
        plain,
        is_plain,
        memoryview(b""),
        range(3),
        {"lock": threading.Lock()},
        [{"key": (1, {Number(2)})}],
        itself(),
        nested(100_000),
    ],
    ids=lambda data: type(data).__name__,
)
def test_not_plain(data: object) -> None:
    """Nothing else is, however deep it is found; nor what has to be pickled to know where it ends."""
    assert not is_plain(data)


def test_what_is_referred_to_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little data that many refer to is given up, at a bound, before it takes long."""
    monkeypatch.setattr(plain, "_MOST_BYTES", 1 << 20)
    data: list[Any] = [0]
    for _ in range(8):
        data = [data] * 100
    assert not is_plain(data)
