"""The functions that are measured: what one item does.

The first item that a worker process runs waits until every worker has got one (:func:`all_there`), so that a run can be
timed from the moment when nobody is starting any more. Later items pay one look at a global for it, whoever runs them.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "all_there",
    "async_sleep",
    "block_sum",
    "busy",
    "corner",
    "look_up",
    "no_op",
    "payload",
    "row_and_entry",
    "sleep",
    "started",
]

_VARIABLE = "BENCHMARK_WORKERS"  # what workers inherit: how many there are, and the file that counts them
_PATIENCE = 5.0  # seconds; a contender that uses fewer workers than it was told to goes on after them

_here = False


def no_op(item: int) -> int:
    """Do nothing."""
    if not _here:
        _arrive()
    return item


def busy(seconds: float) -> float:
    """Use the CPU for *seconds*, and return the CPU time that it really took."""
    if not _here:
        _arrive()
    began = time.thread_time()
    while (used := time.thread_time() - began) < seconds:
        pass
    return used


def sleep(seconds: float) -> None:
    """Wait, as for a network."""
    time.sleep(seconds)


async def async_sleep(seconds: float) -> None:
    """Wait on the event loop, as for a network."""
    await asyncio.sleep(seconds)


def started(_: int) -> float:
    """Return when this item started, by a clock that all processes share."""
    return time.perf_counter()


def block_sum(block: int, array: Any, blocks: int) -> float:
    """Sum one of so many blocks of a shared array; where there is none, of as much memory of one's own."""
    import numpy as np

    size = array.size // blocks if array is not None else 200_000_000 // 8 // blocks
    part = array[block * size : (block + 1) * size] if array is not None else np.ones(size)
    return float(part.sum())


def look_up(item: int, table: Mapping[str, tuple[int, float]]) -> float:
    """Read one entry of a shared table."""
    return table[f"key {item % len(table)}"][1]


def row_and_entry(item: int, frame: Any, table: Mapping[str, tuple[int, float]]) -> float:
    """Read one value of a shared frame and one entry of a shared table."""
    return corner(frame) + look_up(item, table)


def corner(frame: Any) -> float:
    """Read one value of a frame."""
    return float(frame.iat[0, 0])


def payload(item: int) -> bytes:
    """Return 100 kB, for somebody who stores them."""
    return item.to_bytes(8, "big") * 12_500


def _arrive() -> None:
    """Say that this worker is there, and wait for the others."""
    global _here
    _here = True
    count, _, path = os.environ.get(_VARIABLE, "").partition(":")
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, struct.pack("d", time.perf_counter()))
    until = time.perf_counter() + _PATIENCE
    while os.fstat(descriptor).st_size < 8 * int(count) and time.perf_counter() < until:
        time.sleep(0.0002)
    os.close(descriptor)


@contextmanager
def all_there(workers: int) -> Iterator[Callable[[], float | None]]:
    """Let the workers that start in the meantime wait for each other; gives when they were complete, None if never."""
    with tempfile.NamedTemporaryFile() as file:
        os.environ[_VARIABLE] = f"{workers}:{file.name}"

        def complete() -> float | None:
            data = file.read()
            stamps = struct.unpack(f"{len(data) // 8}d", data)
            return max(stamps) if len(stamps) == workers else None

        try:
            yield complete
        finally:
            del os.environ[_VARIABLE]
