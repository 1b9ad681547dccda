"""The stand-in for a task's supervisor: it answers the same messages, in the same frames, from what a test gives.

::

    task or relay ── message ──► frame ──► the answer to its kind ──► frame ──► reply, or the error that it brings

What the test has not given is missing, with the very error that Airflow has for that.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_joblib.taskflow.airflow_internals import ErrorResponse, ErrorType, RequestFrame, ResponseFrame
from airflow_joblib.taskflow.relay.framing import HEADER
from airflow_joblib.taskflow.relay.supervisor_proxy import Asking
from airflow_joblib.testing.answers import ANSWERS

if TYPE_CHECKING:
    from airflow_joblib.testing.store import Store

__all__ = ["Supervisor"]

_UNKNOWN = (
    "Unhandled request: {}, which airflow_joblib.testing.task, that stands in for the supervisor, does not know. Patch "
    "what makes it, or test that part under a real Airflow."
)


class Supervisor(Asking):
    """Stands where a task has the connection to its supervisor.

    Args:
        store: What it answers from.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = os.getpid()
        self._turn = threading.Lock()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(RequestFrame)

    def _ask(self, data: bytearray) -> bytes:
        if os.getpid() != self._owner:  # multiprocessing closes the connection in what it forks from a task
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        request = self._decoder.decode(bytes(data[HEADER:]))
        body, error = None, None
        answer = ANSWERS.get(request.body["type"])
        if answer is None:
            error = _unknown(request.body["type"]).model_dump()
        else:
            with self._turn:
                reply = answer(self._store, request.body)
            body = reply and {**reply.model_dump(by_alias=True, exclude_unset=True), "type": reply.type}
        return bytes(ResponseFrame(request.id, body, error).as_bytes()[HEADER:])


def _unknown(kind: str) -> Any:
    detail = {"status_code": 400, "message": _UNKNOWN.format(kind)}
    return ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)
