"""What the tests of engines share: their marks, items that take their time, and what is done while they run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MARKS", "SECRET", "SLOW", "While", "on", "wait_until", "workers_of"]

#: Of every module. The engines warn of much: what they deprecate, and versions of others that they have not seen.
MARKS = [pytest.mark.server, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]
SECRET = "a-secret-that-is-shared-by-all-items"
#: Items that take so many ``SECONDS``, and leave files that say how far they came.
SLOW = """
import os, time
from pathlib import Path

@parallel_task(batch_size=1, **OPTIONS)
def work(item, folder, secret):
    Path(folder, f"{item}.{os.getpid()}").touch()
    try:
        for _ in range(SECONDS * 100):
            time.sleep(0.01)
    finally:
        Path(folder, f"{item}.over").touch()
    Path(folder, f"{item}.done").touch()
    return item, os.getpid()
"""


def on(*engines: str) -> pytest.MarkDecorator:
    """Mark what is tested on some of the engines only."""
    return pytest.mark.parametrize("engine", engines, indirect=True)


def wait_until(happened: Callable[[], Any], seconds: float) -> Any:
    """Return what happens first that is true; fails after so many seconds."""
    until = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


def workers_of(folder: Path, count: int = 1) -> set[int]:
    """Return the process ids of workers that have begun an item, once there are as many."""
    pids = {int(file.suffix[1:]) for file in folder.iterdir() if file.suffix[1:].isdigit()}
    return pids if len(pids) >= count else set()


class While:
    """Does something in a thread of its own, as soon as items run in two workers; the exit waits for its end.

    Args:
        folder: Where the items leave their files.
        act: What to do, given the workers' process ids.

    Attributes:
        at: When it was done, by ``monotonic``.
    """

    def __init__(self, folder: Path, act: Callable[[list[int]], object]) -> None:
        self.at = 0.0
        self._folder = folder
        self._act = act
        self._thread = ThreadPoolExecutor(1)

    def _run(self) -> None:
        pids = sorted(wait_until(lambda: workers_of(self._folder, 2), 120))
        self.at = time.monotonic()
        self._act(pids)

    def __enter__(self) -> Self:
        self._done = self._thread.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        with self._thread:
            self._done.result()
