"""A thread of a cluster's worker with an event loop, on which the items of one chunk join those of another."""

from __future__ import annotations

import functools
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_joblib.clusters.item_thread import ItemThread, RunOverError
from airflow_joblib.wire.chunk import load_items
from airflow_joblib.worker.async_worker import Given
from airflow_joblib.worker.thread_feed import ThreadFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.clusters.item_thread import ThreadSettings
    from airflow_joblib.wire.records import Report

__all__ = ["AsyncItemThread"]


class AsyncItemThread(ItemThread):
    """Runs the items of several chunks together."""

    def __init__(self, settings: ThreadSettings) -> None:
        super().__init__(settings)
        self._feed = ThreadFeed()
        self._sent: set[_Sent] = set()
        self._over = self._thread.submit(self._serve)
        self._over.add_done_callback(self._give_up)

    def _serve(self) -> None:
        self._worker.serve(self._feed, None, self._must_end, hands_back=True)

    @property
    def _busy(self) -> bool:
        return bool(self._sent)

    def run(self, data: bytes, indices: Sequence[int], has_room: Callable[[], object]) -> bytes:
        """Run a chunk and return its pickled report. What is passed is as for any other thread."""
        sent = _Sent()
        self._sent.add(sent)
        try:
            load = functools.partial(load_items, data)
            self._feed.put(Given(indices, load, functools.partial(self._done, sent), sent.has_room))
            if self._over.done():
                self._give_up(self._over)
            sent.taken.result()
            if not sent.report.done():
                has_room()
            return sent.report.result()
        finally:
            self._sent.discard(sent)

    def _done(self, sent: _Sent, indices: Sequence[int], report: Report) -> None:
        try:
            sent.end(self._packed(report, indices))
        except BaseException as error:  # noqa: BLE001 - who has given the chunk gets it, as of a plain function
            sent.end(error)

    def _give_up(self, over: Future[None]) -> None:
        """Let nobody wait for a loop that has ended."""
        for sent in tuple(self._sent):
            sent.end(over.exception() or RunOverError())

    def _interrupt(self) -> None:
        self._worker.interrupt()

    def close(self, *, failed: bool) -> str:
        """Cancel what runs, leave the resources on the loop, and end the thread."""
        self._feed.put(None)
        return super().close(failed=failed)


class _Sent:
    """A chunk under way."""

    def __init__(self) -> None:
        self.taken: Future[None] = Future()
        self.report: Future[bytes] = Future()

    def has_room(self) -> None:
        """Let the next chunk come."""
        with suppress(InvalidStateError):  # it has
            self.taken.set_result(None)

    def end(self, report: bytes | BaseException) -> None:
        """Give the report, or why there is none."""
        with suppress(InvalidStateError):  # it is known already
            if isinstance(report, bytes):
                self.report.set_result(report)
            else:
                self.report.set_exception(report)
        self.has_room()
