"""Items that are made as they are drawn: how much of them a fan-out holds."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.benchmarks.clock import timed
from tests.benchmarks.contenders import NotHereError, ours
from tests.benchmarks.memory import MB, peak_of_parent
from tests.benchmarks.work import no_op, payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.clock import Sample
    from tests.benchmarks.contenders import Pool

__all__ = ["from_generator", "slow_consumer"]


def from_generator(pool: Pool, count: int, jobs: int) -> list[Sample]:
    """Weigh the parent while it draws so many integers from a generator, above what the results take."""
    with pool(jobs) as run:
        run(no_op, range(jobs))
        with peak_of_parent() as peak:
            seconds, results = timed(run, no_op, (number for number in range(count)))
        kept = sys.getsizeof(results) + sum(map(sys.getsizeof, results))
    return [{"seconds": seconds, "MB above the results": (peak.extra - kept) / MB}]


def slow_consumer(count: int, batch_size: int, jobs: int) -> list[Sample]:
    """Count how many chunks of items, of 100 kB each, are drawn and not yet stored by a slow checkpoint."""
    from airflow_joblib.exceptions import InvalidOptionError

    with tempfile.TemporaryDirectory() as folder, _slow_storage(folder) as storage:
        try:
            with ours(jobs, batch_size=batch_size, checkpoint=storage.path) as run:
                seconds, results = timed(run, payload, storage.drawn(count))
        except InvalidOptionError as error:
            raise NotHereError(str(error)) from None
    assert len(results) == count
    return [{"seconds": seconds, "chunks ahead": storage.most / (batch_size * len(payload(0)))}]


class _Storage:
    """A folder behind fsspec that takes 20 ms for each write.

    Attributes:
        path: Its address.
        most: Bytes of results that were drawn and not written, at the most.
    """

    def __init__(self, folder: str) -> None:
        self.path = f"slow://{folder}"
        self.most = 0
        self._written = 0
        self._lock = threading.Lock()

    def drawn(self, count: int) -> Iterator[int]:
        """Give items, and look at each how far the storage is behind."""
        for number in range(count):
            self.most = max(self.most, number * len(payload(0)) - self._written)
            yield number

    def write(self, size: int) -> None:
        """Take note of a write, slowly."""
        time.sleep(0.02)
        with self._lock:
            self._written += size


@contextmanager
def _slow_storage(folder: str) -> Iterator[_Storage]:
    """Register the storage under an address of its own."""
    import fsspec
    from fsspec.implementations.local import LocalFileOpener, LocalFileSystem

    storage = _Storage(folder)

    class Opener(LocalFileOpener):  # type: ignore[misc]
        def write(self, data: Any, *more: Any) -> Any:
            storage.write(len(data))
            return super().write(data, *more)

    class FileSystem(LocalFileSystem):  # type: ignore[misc]
        protocol = "slow"

        @classmethod
        def _strip_protocol(cls, path: Any) -> Any:
            return super()._strip_protocol(str(path).removeprefix("slow://"))

        def _open(self, path: str, mode: str = "rb", block_size: Any = None, **more: Any) -> Any:
            return Opener(path, mode, fs=self, **more)

    fsspec.register_implementation("slow", FileSystem, clobber=True)
    yield storage
