"""What of a run is Dask's own in a worker: requests to the task's process, and a look at whether that still lives.

::

    item ─► RequestSender ─ notification: an event of the worker, its address alone ─► scheduler ─► the task's client
                  exchange: an answer there, what waits back ◄──────────────────────────────────────────┘

Requests and answers pass through the scheduler on their way and rest nowhere. A lost notification is sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import secrets
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Worker, get_worker, secede
from distributed.core import Status

from airflow_joblib.clusters import worker as clusters_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_joblib.wire.records import Payload

__all__ = ["OPERATION", "RequestSender", "leave", "run_chunk", "stop_serving", "without_copies"]

#: What a worker calls the exchange of requests and answers.
OPERATION = "airflow_joblib_exchange"
#: Seconds between two looks at whether the task's client is still there.
_LOOK = 1.0
#: Seconds of one wait, in which an item can't be interrupted, and how many waits are made until it notifies again.
_WAIT, _AGAIN = 0.25, 8

_RUNNING = (Status.running, Status.paused)
#: States of a chunk that runs: with a thread of Dask's, and when it has left that to another chunk.
_AT_WORK = {"executing", "long-running"}

_numbers = itertools.count()
#: Requests that wait for their answer: of which channel, and by which number.
_waiting: dict[str, dict[str, _Request]] = {}
#: Tasks of Dask that run chunks, by run.
_chunks: dict[str, Counter[str]] = {}
_lock = threading.Lock()


def stop_serving(dask_worker: Any = None, dask_scheduler: Any = None) -> None:
    """Close the port by which Dask shows by HTTP what it does."""
    (dask_worker or dask_scheduler).http_server.stop()


class _Request:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answer = b""
        self.answered = threading.Event()


@dataclass(frozen=True)
class RequestSender:
    """Sends a request from a worker to the task's process, and returns the answer.

    Attributes:
        client: The task's client, as the scheduler knows it.
        key: Unique id of this channel.
    """

    client: str
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def __call__(self, data: bytes, over: Callable[[], bool] = bool) -> bytes:
        """Send a request, and wait for the answer until the run is *over*: from some threads nothing else ends it."""
        worker = _this_worker()
        request, number = _Request(data), f"{next(_numbers)}-{secrets.token_hex(8)}"
        with _lock:
            worker.handlers[OPERATION] = exchange
            _waiting.setdefault(self.key, {})[number] = request
        try:
            for turn in itertools.count():
                if over():
                    raise ConnectionError("the run is over")
                if turn % _AGAIN == 0:
                    worker.log_event(self.client, {"channel": self.key, "address": worker.address})
                if request.answered.wait(_WAIT):
                    return request.answer
                if worker.status not in _RUNNING:
                    raise ConnectionError("the worker is closing")
        finally:
            self._forget(number)
        raise AssertionError

    def _forget(self, number: str) -> None:
        with _lock:
            mine = _waiting.get(self.key, {})
            mine.pop(number, None)
            if not mine:
                _waiting.pop(self.key, None)


def _this_worker() -> Worker:
    """Return the worker of this process; where there are several, any of them can send a notification."""
    return next(worker for worker in list(Worker._instances) if worker.status in _RUNNING)  # noqa: SLF001


async def exchange(key: str, answers: Sequence[tuple[str, bytes]] = ()) -> list[tuple[str, bytes]]:
    """Take answers, and return what waits for one. Runs on the worker's event loop."""
    with _lock:
        mine = _waiting.get(key, {})
        for number, answer in answers:
            request = mine.get(number)
            if request is not None:
                request.answer = answer
                request.answered.set()
        return [(number, request.data) for number, request in mine.items() if not request.answered.is_set()]


class _Frame:
    """Bytes that Dask sends as they are, beside its pickle; they arrive as bytes, or a view of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _frame, (pickle.PickleBuffer(self._data),)


def _frame(data: Any) -> Any:
    return data


def without_copies(payload: Payload) -> Payload:
    """Return a payload whose call is not copied on its way."""
    call: Any = _Frame(payload.call) if isinstance(payload.call, bytes) else payload.call
    return payload._replace(call=call)


def run_chunk(run: str, scattered: str, payload: Any, data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk and return its pickled report.

    Args:
        run: Which run the chunk is of.
        scattered: What Dask calls the payload.
        payload: What the run's workers get once.
        data: The pickled items.
        indices: Their positions in the input.
    """
    worker = get_worker()
    with _counted(worker, run, scattered):
        return clusters_worker.run_chunk(run, payload, data, indices, _leave_thread)


def _leave_thread() -> None:
    """Let Dask run the next chunk, in another thread, while this one goes on."""
    with suppress(Exception):  # the worker is closing: then nothing is to come
        secede()


@contextmanager
def _counted(worker: Worker, run: str, scattered: str) -> Iterator[None]:
    """Keep account of a chunk that runs, and watch over the run from its first one on."""
    key = str(worker.get_current_task())
    with _lock:
        new = run not in _chunks
        _chunks.setdefault(run, Counter())[key] += 1
    if new:
        worker.loop.add_callback(_watch, worker, run, scattered)
    try:
        yield
    finally:
        with _lock:
            if run in _chunks:
                _chunks[run] -= Counter({key: 1})


async def _watch(worker: Worker, run: str, scattered: str) -> None:
    """End a run that nobody waits for any more: its client is gone, of which Dask itself notifies no item that runs."""
    while run in _chunks:
        await asyncio.sleep(_LOOK)
        if worker.status in _RUNNING and (_wanted(worker, run) or await _is_known(worker, scattered)):
            continue
        await leave(run)


def _wanted(worker: Worker, run: str) -> bool:
    """Return whether Dask runs a chunk of the run here and has not cancelled it, which needs no request."""
    states = [task.state for key in list(_chunks.get(run, ())) if (task := worker.state.tasks.get(key)) is not None]
    return not _AT_WORK.isdisjoint(states)


async def _is_known(worker: Worker, scattered: str) -> bool:
    """Return whether the scheduler knows the payload, as it does while the client is there that has sent it."""
    try:
        scheduler: Any = worker.scheduler
        found = await scheduler.get_task_status(keys=[scattered])
    except Exception:  # noqa: BLE001 - a scheduler that doesn't answer is for the worker to see to
        return worker.status in _RUNNING
    return found.get(scattered) is not None


async def leave(run: str, *, failed: bool = True) -> list[str]:
    """End a run in this process, while the worker's event loop goes on. Return what went wrong."""
    with _lock:
        _chunks.pop(run, None)
    try:
        failures, _ = await asyncio.to_thread(clusters_worker.leave, run, failed=failed)
        return failures
    finally:
        _stop_exchanging()


def _stop_exchanging() -> None:
    """Take the exchange from the workers, unless another run's request waits for its answer."""
    with _lock:
        if not _waiting:
            for worker in list(Worker._instances):  # noqa: SLF001
                worker.handlers.pop(OPERATION, None)
