"""The task's end of the channel for workers' requests, and the actor in between; :mod:`.worker` has theirs."""

from __future__ import annotations

import logging
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import ray

from airflow_joblib.clusters.ray.worker import NAMESPACE, RequestSender
from airflow_joblib.clusters.requests import SeenRequests
from airflow_joblib.clusters.sealed import ANSWERS, ASKS, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["request_channel"]

log = logging.getLogger("airflow_joblib")

#: Requests that are answered at a time; the supervisor takes one after another.
_AT_A_TIME = 4
#: Requests that may wait at a time on the whole cluster.
_MOST_WAITING = 10_000
#: Seconds of one wait for requests, and of a pause after one that failed.
_WAIT = 1.0
#: What only the head has, which no node's end takes away.
_HEAD = "node:__internal_head__"


def _mailbox_class() -> type:
    """Return the actor's class, which is made here so that it travels by value: the head needs nothing but Ray."""
    import asyncio

    class Mailbox:
        def __init__(self) -> None:
            self.new: list[tuple[str, bytes]] = []
            self.answers: dict[str, asyncio.Future[bytes]] = {}
            self.request_waits = asyncio.Event()

        async def ask(self, number: str, request: bytes) -> bytes:
            self.answers[number] = asyncio.get_running_loop().create_future()
            self.new.append((number, request))
            self.request_waits.set()
            try:
                return await self.answers[number]
            finally:
                del self.answers[number]

        async def requests(self) -> list[tuple[str, bytes]]:
            await self.request_waits.wait()
            self.request_waits.clear()
            taken, self.new = self.new, []
            return [(number, request) for number, request in taken if number in self.answers]

        async def answer(self, number: str, answer: bytes) -> None:
            waiting = self.answers.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    return Mailbox


@contextmanager
def request_channel(answer: Callable[[bytes], bytes], gone: Callable[[], str | None]) -> Iterator[RequestSender]:
    """Answer workers' requests while this is entered; gives what they call.

    Args:
        answer: Answers a request; must not raise.
        gone: Returns why the cluster is no more, or None.
    """
    ask = RequestSender(f"airflow-joblib-{secrets.token_hex(16)}")
    options: dict[str, Any] = {"name": ask.mailbox, "namespace": NAMESPACE, "num_cpus": 0}
    if _HEAD in ray.cluster_resources():
        options["resources"] = {_HEAD: 0.001}
    mailbox = ray.remote(_mailbox_class()).options(**options, max_concurrency=_MOST_WAITING).remote()
    channel = _Channel(mailbox, ask.key, answer)
    try:
        yield ask
    finally:
        channel.close(kill=not gone())


class _Channel:
    """Takes requests from the mailbox, in a thread of its own."""

    def __init__(self, mailbox: Any, key: bytes, answer: Callable[[bytes], bytes]) -> None:
        self._mailbox = mailbox
        self._key = key
        self._make_answer = answer
        self._closed = threading.Event()
        self._known = SeenRequests()
        self._answering = ThreadPoolExecutor(_AT_A_TIME, "airflow-joblib answers")
        self._listening = threading.Thread(target=self._listen, name="airflow-joblib mailbox", daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                coming = self._mailbox.requests.remote().future()
                while not (coming.done() or self._closed.is_set()):
                    with suppress(TimeoutError):
                        coming.exception(_WAIT)
                for number, request in () if self._closed.is_set() else coming.result():
                    # Whoever has the mailbox could bring one again.
                    if self._known.is_new(number):
                        self._answering.submit(self._answer, number, request)
            except Exception as error:  # noqa: BLE001 - that the cluster is lost is for the run to see
                log.debug("The mailbox gave no requests: %s", error)
                self._closed.wait(_WAIT)

    def _answer(self, number: str, request: bytes) -> None:
        try:
            data = unseal(self._key, ASKS, number, request)
        except PermissionError as error:
            log.debug("A request is not answered: %s", error)
            return
        made = seal(self._key, ANSWERS, number, self._make_answer(data))
        with suppress(Exception):  # the worker has gone, or the cluster
            self._mailbox.answer.remote(number, made)

    def close(self, *, kill: bool) -> None:
        """End the mailbox, and with it all that waits in it; without *kill* the cluster has gone with it."""
        self._closed.set()
        self._answering.shutdown(wait=False, cancel_futures=True)
        if kill:
            with suppress(Exception):
                ray.kill(self._mailbox)
        self._listening.join(_WAIT)
