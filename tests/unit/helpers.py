"""What several unit tests look at: the process table, and files that workers leave notes in."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PROCESSES = ("loky", "multiprocessing")
LOCAL = (*PROCESSES, "threading", "sequential")
#: The same with fresh workers for the night, where another test of the file has them by day: they cost ten times what
#: forked ones do.
PROCESSES_BY_DAY = (pytest.param("loky", marks=pytest.mark.nightly), "multiprocessing")
LOCAL_BY_DAY = (*PROCESSES_BY_DAY, "threading", "sequential")
#: Options with which a run has one worker, which is a process for the limit's sake: all items are one chunk. To start
#: fresh workers is most of what a test of them takes.
ONE_WORKER: Mapping[str, Any] = {"batch_size": 1000, "item_timeout": 100}
#: The packages that each engine's extra brings.
EXTRAS = {"dask": {"dask", "distributed"}, "ray": {"ray"}, "spark": {"joblibspark", "py4j", "pyspark"}}


def named(value: object) -> str:
    """Return a test's name for a value: the same in every process, without an address."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:40]


def task(function: Callable[..., Any], **options: Any) -> Any:
    """Make a parallel task of two workers, whose items come back soon after a failure."""
    return parallel_task(**{"n_jobs": 2, "item_retry_delay": 0.01, **options})(function)


def square_or_repeat(item: Any) -> Any:
    """Return an item twice: a number doubled, a text or a list after itself."""
    return item * 2


def overlapping(call: Callable[[Callable[[], None]], Any]) -> list[Any]:
    """Call in two threads, the first of which to begin is the first to end, and return both results.

    Args:
        call: Is given what it has to call in its midst: that returns when the other is there, too, and it is its turn.
    """
    there: queue.SimpleQueue[int] = queue.SimpleQueue()
    may_end = threading.Event(), threading.Event()

    def run(number: int) -> Any:
        def wait() -> None:
            there.put(number)
            assert may_end[number].wait(10)

        return call(wait)

    with ThreadPoolExecutor(2) as pool:
        ends = []
        for number in range(2):
            ends.append(pool.submit(run, number))
            assert there.get(timeout=10) == number
        results = []
        for event, end in zip(may_end, ends, strict=True):
            event.set()
            results.append(end.result())
    return results


def worker_processes() -> list[psutil.Process]:
    """Return the living children of this process, all generations, without the trackers that clean up after us."""
    return list(filter(is_worker, psutil.Process().children(recursive=True)))


def is_worker(process: psutil.Process) -> bool:
    """Return whether a child of this process lives, and is no tracker."""
    try:
        tracker = "resource_tracker" in " ".join(process.cmdline())
        return not tracker and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(holds: Callable[[], object], seconds: float = 30.0) -> bool:
    """Return whether *holds* becomes true within *seconds*."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def note(path: Path, text: object = "") -> None:
    """Append a line to a file, whole, whoever else does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def notes(path: Path) -> list[str]:
    """Return the lines of a file, none where it does not exist."""
    return path.read_text().splitlines() if path.exists() else []


def run_python(
    code: str, environment: Mapping[str, str] | None = None, *, check: bool = True, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=check,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **(environment or {}), **more},
    )
