"""What of a run is Ray's own in a worker: chunks one after another, and requests to the task's process.

::

    item ─► RequestSender ─► an actor, the mailbox, where requests wait ◄─ the task's process: takes them, answers

Requests and answers pass through the mailbox's process, which ends with the run.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from airflow_joblib.clusters import worker
from airflow_joblib.clusters.ray.head import LOOK, Head
from airflow_joblib.clusters.sealed import ANSWERS, ASKS, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.records import Payload

__all__ = ["NAMESPACE", "FromStore", "RequestSender", "run_chunk"]

#: Of the mailboxes' names.
NAMESPACE = "airflow-joblib"
#: Seconds of one wait, in which an item can't be interrupted.
_WAIT = 0.25

#: Whose turn it is of the chunks that have come.
_turn = threading.Lock()


@dataclass(frozen=True)
class RequestSender:
    """Sends a request from a worker to the task's process, and returns the answer.

    Attributes:
        mailbox: Name of the actor.
        key: What shows the task's process and the worker to each other. The actor in between doesn't get it, whose name
            is no secret on the cluster.
    """

    mailbox: str
    key: bytes = field(default_factory=functools.partial(secrets.token_bytes, 32), repr=False)

    def __call__(self, data: bytes, over: Callable[[], bool] = bool) -> bytes:
        """Send a request, and wait for the answer. An actor's process ends with its run, *over* or not."""
        del over
        try:
            number = secrets.token_hex(16)
            waiting = _mailbox(self.mailbox).ask.remote(number, seal(self.key, ASKS, number, data))
            return unseal(self.key, ANSWERS, number, self._answer(waiting))
        except (RayError, ValueError) as error:
            msg = f"the channel to the task is closed ({type(error).__name__})"
            raise ConnectionError(msg) from error

    @staticmethod
    def _answer(waiting: Any) -> bytes:
        try:
            while True:
                with suppress(GetTimeoutError):
                    answer: bytes = ray.get(waiting, timeout=_WAIT)
                    return answer
        except BaseException:
            with suppress(Exception):
                ray.cancel(waiting)
            raise


@functools.lru_cache(maxsize=8)
def _mailbox(name: str) -> Any:
    return ray.get_actor(name, NAMESPACE)


class FromStore:
    """Gets the payload from the object store, where it is once on each node."""

    def __init__(self, payload: Payload) -> None:
        self._ref = ray.put(payload)

    def __call__(self) -> Any:
        """Get it."""
        return ray.get(self._ref)


def run_chunk(run: str, payload: Callable[[], Payload], data: bytes, indices: Sequence[int]) -> bytes:
    """Run a pickled chunk and return its pickled report.

    An actor's process has threads for several chunks, lest it waits for the next one, and for the run's end; here they
    run one after another, or the next one as soon as the worker has room for it.

    Args:
        run: Which run the chunk is of.
        payload: Gets what the run's workers get once.
        data: The pickled items.
        indices: Their positions in the input.
    """
    with ExitStack() as turn:
        turn.enter_context(_turn)
        _start_watch(run)
        return worker.run_chunk(run, payload, data, indices, turn.close)


@functools.lru_cache(maxsize=1)
def _start_watch(run: str) -> None:
    threading.Thread(target=_watch, args=(run,), name="airflow-joblib watch", daemon=True).start()


def _watch(run: str) -> None:
    """End the run of this process when the cluster has lost its head, for which a node looks for a minute."""
    head = Head(None)
    while not head.why_gone():
        time.sleep(LOOK)
    worker.leave(run)
