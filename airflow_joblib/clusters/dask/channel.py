"""The task's end of the channel for requests of Dask's workers; :mod:`.worker` has the other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.dask.worker import OPERATION, RequestSender
from airflow_joblib.clusters.requests import SeenRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from distributed import Client

__all__ = ["request_channel"]

#: Requests that are answered at a time; the supervisor takes one after another.
_AT_A_TIME = 4
#: Tries to hand a worker its answer, and seconds between two.
_TRIES, _PAUSE = 5, 1.0


@contextmanager
def request_channel(client: Client, answer: Callable[[bytes], bytes]) -> Iterator[RequestSender]:
    """Answer workers' requests while this is entered; gives what they call.

    Args:
        client: The connection to the cluster.
        answer: Answers a request; must not raise.
    """
    ask = RequestSender(client.id)
    threads = ThreadPoolExecutor(_AT_A_TIME, "airflow-joblib answers")
    channel = _Channel(client, ask.key, answer, threads)
    # Dask keeps a few events of this topic anyway, and forgets them after the client.
    client.subscribe_topic(client.id, channel.notified)
    try:
        yield ask
    finally:
        channel.closed = True
        if client.status == "running":
            client.unsubscribe_topic(client.id)
        threads.shutdown(wait=False, cancel_futures=True)


class _Channel:
    """Lives on the client's event loop."""

    def __init__(self, client: Client, key: str, answer: Callable[[bytes], bytes], threads: ThreadPoolExecutor) -> None:
        self.closed = False
        self._client = client
        self._key = key
        self._make_answer = answer
        self._threads = threads
        self._known = SeenRequests()
        self._tasks: set[asyncio.Task[object]] = set()

    def notified(self, event: tuple[float, Any]) -> None:
        """Fetch the request of a worker that has sent a notification."""
        _, notification = event
        if isinstance(notification, dict) and notification.get("channel") == self._key:
            self._start(self._exchange(str(notification["address"])))

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _exchange(self, address: str, *answers: tuple[str, bytes]) -> bool:
        """Hand a worker its answers, and begin to answer its other requests. Return whether the worker was reached."""
        message = {"op": OPERATION, "key": self._key, "answers": list(answers)}
        scheduler: Any = self._client.scheduler
        try:
            waiting = await scheduler.proxy(msg=message, worker=address)
        except Exception:  # noqa: BLE001 - the worker has gone; or notifies again
            return False
        for number, request in waiting:
            # What a worker reports that it waits for may be older than the answer that it has had.
            if self._known.is_new(number) and not self.closed:
                self._start(self._answer(address, number, request))
        return True

    async def _answer(self, address: str, number: str, request: bytes) -> None:
        made = await asyncio.get_running_loop().run_in_executor(self._threads, self._make_answer, request)
        for _ in range(_TRIES):
            if await self._exchange(address, (number, made)):
                return
            await asyncio.sleep(_PAUSE)
        self._known.forget(number)
