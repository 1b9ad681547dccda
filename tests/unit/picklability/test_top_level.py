"""What a DAG file's top level has done to other modules and to the process, in fresh workers: the rows of the docs."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.unit.helpers import PROCESSES, task

SOURCE = """
import colorsys, decimal, socket


class Base:
    pass


class Derived(Base):
    pass


def set_up():
    colorsys.RATE = 7
    colorsys.rgb_to_yiq = max
    decimal.getcontext().prec = 40
    socket.setdefaulttimeout(11)


set_up()


def module(item):
    return getattr(colorsys, "RATE", None)


def patched(item):
    return colorsys.rgb_to_yiq(3, 1, 2) == 3


def precision(item):
    return decimal.getcontext().prec


def process(item):
    return socket.getdefaulttimeout()


def subclasses(item):
    return len(Base.__subclasses__())


def with_set_up(item, ready):
    return [module(item), patched(item), precision(item), process(item)]
"""
#: A function of the file: what a plain loop gives, and what fresh workers give.
ROWS = {
    "module": (7, None),
    "patched": (True, False),
    "precision": (40, 28),
    "process": (11, None),
    "subclasses": (1, 0),
}


@pytest.fixture
def loaded(dag_file: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load the DAG file, and undo what its top level does."""
    import colorsys
    import decimal

    before = socket.getdefaulttimeout()
    monkeypatch.setattr(colorsys, "RATE", 0, raising=False)
    monkeypatch.setattr(colorsys, "rgb_to_yiq", colorsys.rgb_to_yiq)
    with decimal.localcontext():
        yield dag_file(SOURCE)
    socket.setdefaulttimeout(before)


@pytest.mark.parametrize("row", ROWS)
def test_what_differs(row: str, loaded: Any) -> None:
    """What the top level did outside of the file is missing in fresh workers, as the docs say, not in forked ones."""
    here, fresh = ROWS[row]
    function = getattr(loaded, row)
    assert function(1) == here
    assert task(function, backend="loky").map([1, 2]) == [fresh] * 2
    assert task(function, backend="multiprocessing").map([1, 2]) == [here] * 2


def test_way_out(loaded: Any) -> None:
    """What ``per_worker`` does first is done in a fresh worker."""
    work = task(loaded.with_set_up, backend="loky", per_worker={"ready": loaded.set_up})
    assert work.map([1, 2]) == [[7, True, 40, 11]] * 2


@pytest.mark.parametrize("backend", PROCESSES)
def test_short_timeout_of_sockets(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A default timeout of sockets that is shorter than an item ends no worker that waits."""

    def wait(item: int) -> int:
        time.sleep(item)
        return item

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.2)
    try:
        results = task(wait, backend=backend, batch_size=1).map([1, 0, 0, 0])
    finally:
        socket.setdefaulttimeout(before)
    assert results == [1, 0, 0, 0]
    assert "Timeout" not in capfd.readouterr().err
