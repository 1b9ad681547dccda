"""Event loops in threads of the task's process, for an asynchronous function: nothing is pickled.

The threads are our own: one of joblib's runs one function after another, and can't be told to cancel what it runs.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from airflow_joblib.pools.async_pool import AsyncPool, Ended, Joined, LoopWorker, Reported
from airflow_joblib.system import clock
from airflow_joblib.system.thread_context import CallerContext
from airflow_joblib.system.time_limits import GRACE
from airflow_joblib.worker.async_worker import AsyncWorker, Given
from airflow_joblib.worker.rate_limit import OwnCell, rate_limit
from airflow_joblib.worker.thread_feed import ThreadFeed
from airflow_joblib.worker.worker import close_after_failure, mark_thread

if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Sequence

    from airflow_joblib.pools.async_pool import Event
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report, Rules

__all__ = ["AsyncThreads"]


class AsyncThreads(AsyncPool):
    """Event loops in threads.

    Args:
        call: The function with everything but the item.
        n_jobs: How many threads.
        rules: What each goes by.
    """

    def __init__(self, call: Call, n_jobs: int, rules: Rules) -> None:
        super().__init__(n_jobs, rules.concurrency, None)
        self._call = call
        self._rules = rules
        self._halted = threading.Event()
        self._context = CallerContext()
        self._rate_cell = OwnCell()
        self._threads: list[_Thread] = []

    def __enter__(self) -> Self:
        for _ in range(self.n_jobs):
            rate = rate_limit(self._rules, self._rate_cell)
            worker = AsyncWorker(self._call, self._rules, catch=BaseException, halt=self._halted.set, rate=rate)
            thread = _Thread(worker, self._halted.is_set, self._events, self._context)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Have what runs cancelled after a failed run, and every thread leave its resources."""
        self._halted.set()
        for thread in self._threads:
            if kind is not None:
                thread.cancel()
            thread.end()
        if kind is not None and not issubclass(kind, Exception):  # the task itself is being ended: nothing waits long
            until = clock.now() + GRACE
            for thread in self._threads:
                thread.join(max(0.0, until - clock.now()))
            return
        for thread in self._threads:
            thread.join(None if kind is None else GRACE)
        failed = [thread.error for thread in self._threads if thread.error is not None]
        if failed and kind is None:
            raise failed[0]

    def _ended(self, worker: Any) -> None:
        super()._ended(worker)
        if worker.error is not None:  # of the loop itself: what an item raises is in its report
            raise worker.error


class _Thread(LoopWorker):
    """One thread, and its loop.

    Attributes:
        error: What leaving the resources has raised after a good run.
    """

    def __init__(
        self,
        worker: AsyncWorker,
        halted: Callable[[], bool],
        events: queue.SimpleQueue[Event],
        context: CallerContext,
    ) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._worker = worker
        self._halted = halted
        self._events = events
        self._context = context
        self._failed = False
        self._feed = _Feed(self, events)
        self._thread = threading.Thread(target=self._run, name="airflow-joblib event loop", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout: float | None) -> None:
        """Wait for its end."""
        self._thread.join(timeout)

    def cancel(self) -> None:
        """Have every item cancelled."""
        self._failed = True
        self._worker.interrupt()

    def send(self, chunk: ItemChunk, *, alone: bool) -> None:  # noqa: ARG002 - every report can be loaded
        """Hand a chunk over."""
        self._feed.put(Given(chunk.indices, lambda: chunk.items))

    def end(self) -> None:
        """Let it know that nothing more comes."""
        self._feed.put(None)

    def load(self, data: Any, chunk: ItemChunk) -> Report:  # noqa: ARG002 - it is one
        """Return the report."""
        return data  # type: ignore[no-any-return]

    def _run(self) -> None:
        self._context.run(self._serve)

    def _serve(self) -> None:
        mark_thread(inside=True)
        try:
            self._worker.serve(self._feed, self._feed.send, self._halted)
        except BaseException as error:  # noqa: BLE001 - the run raises it
            self.error, self._failed = error, True
        try:
            if self._failed:
                close_after_failure(self._worker)
            else:
                self._worker.close()
        except BaseException as error:  # noqa: BLE001 - as above
            self.error = error
        finally:
            self._events.put(Ended(self))


class _Feed(ThreadFeed):
    """What a thread takes chunks from, and sends reports to."""

    def __init__(self, worker: LoopWorker, events: queue.SimpleQueue[Event]) -> None:
        super().__init__(lambda: events.put(Joined(worker)))
        self._as_worker = worker
        self._events = events

    def send(self, indices: Sequence[int], report: Report) -> None:
        """Send a report."""
        self._events.put(Reported(self._as_worker, indices, report))
