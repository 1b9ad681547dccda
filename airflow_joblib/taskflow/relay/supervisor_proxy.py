"""What stands in a worker process where a task has its supervisor."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.relay import framing as lines

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["ByChannel", "StandIn"]

#: Lines that a process has at a time: its other threads wait, as the supervisor answers one request after another.
_LINES = 8

_NO_ANSWER = (
    "This worker process could not reach Airflow: its task's process does not answer ({reason}). It has ended, or the "
    "run has; or this worker is on another host."
)
_NO_CHANNEL = (
    "This item requested something from Airflow, which a worker of {} can't: the engine has no channel to the task. "
    "Ask in the task's body and pass the value as a shared argument; or use the backend dask or ray."
)
_NO_ANSWER_THERE = "This worker of {} could not reach Airflow: its task's process does not answer ({})."


class NoSupervisorError(BaseException):
    """What stands for the error below in versions of Airflow that don't have it."""


def error_that_passes() -> type[BaseException]:
    """Return the error that Airflow's secrets backends pass on; any other ends as "not found", or as the default."""
    return airflow_internals.AirflowSecretsBackendAccessDenied or NoSupervisorError


class Asking:
    """Sends requests as the supervisor's own line does. Replies and errors are those of the supervisor."""

    def send(self, msg: Any) -> Any:
        """Send a request and wait for the reply."""
        request = self._frame(next(self._codec.id_counter), msg.model_dump())
        return airflow_internals.reply(self._codec, self._ask(request.as_bytes()))

    async def asend(self, msg: Any) -> Any:
        """Do the same without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.send, msg)

    def _ask(self, data: bytearray) -> bytes:
        """Return the answer to a frame, which comes with its header; the answer has none."""
        raise NotImplementedError

    @cached_property
    def _codec(self) -> Any:
        return airflow_internals.CommsDecoder(socket=None)  # else it would open descriptor 0

    @cached_property
    def _frame(self) -> Any:
        return airflow_internals.RequestFrame


def _check_size(data: bytearray) -> None:
    """Check that a request may be sent.

    Raises:
        ValueError: It is too large.
    """
    if len(data) > lines.LIMIT:
        msg = f"A request of {len(data):,} bytes is too large: {lines.LIMIT:,} is the most a worker process can send."
        raise ValueError(msg)


class StandIn(Asking):
    """Sends a request to the supervisor by way of the task's process.

    A line serves one request at a time, so that no two replies can be mixed up, and is kept for the next only once its
    reply has been read to the end.

    Args:
        address: Where the task's process listens.
        key: What to show there.
        inherited: The task's own line, where this process is a fork of the task's: kept, since closing it would
            close whatever has its descriptor's number by now, and never used.
    """

    def __init__(self, address: str, key: bytes, inherited: object = None) -> None:
        self._address = address
        self._key = key
        self._inherited = inherited
        self._idle: deque[socket.socket] = deque()
        self._renew()

    def _renew(self) -> None:
        """Begin anew: a fork must not talk over the lines of its parent, nor wait for its threads."""
        self.close()
        self._owner = os.getpid()
        self._free: SimpleQueue[None] = SimpleQueue()  # not a semaphore: a signal's handler may send one too
        for _ in range(_LINES):
            self._free.put(None)

    def close(self) -> None:
        """Close what is open; the next request opens a line again."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, data: bytearray) -> bytes:
        try:
            return self._exchange(data)
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise error_that_passes()(_NO_ANSWER.format(reason=reason)) from error

    def _exchange(self, data: bytearray) -> bytes:
        _check_size(data)
        if self._owner != os.getpid():
            self._renew()
        free = self._free
        with suppress(Empty):  # a place may be lost to a signal that comes as it is given
            free.get(timeout=lines.STALLED)
        try:
            return self._exchange_over(self._line(), data)
        finally:
            free.put(None)

    def _exchange_over(self, line: socket.socket, data: bytearray) -> bytes:
        try:
            line.sendall(data)
            answer = lines.read_frame(line)
        except BaseException:  # a timeout in an item, say: the next request must not get this one's reply
            line.close()
            raise
        self._idle.append(line)
        return answer

    def _line(self) -> socket.socket:
        try:
            return self._idle.pop()
        except IndexError:
            return lines.connect(self._address, self._key)


class ByChannel(Asking):
    """Sends a request by the channel of a cluster.

    Args:
        ask: The channel; None where the engine has none.
        engine: Name of the backend.
    """

    def __init__(self, ask: Callable[[bytes], bytes] | None, engine: str) -> None:
        self._channel = ask
        self._engine = engine

    def send(self, msg: Any) -> Any:
        """Send a request and wait for the reply; what is to be masked goes with the log instead."""
        return None if getattr(msg, "type", "") == "MaskSecret" else super().send(msg)

    def _ask(self, data: bytearray) -> bytes:
        if self._channel is None:
            raise error_that_passes()(_NO_CHANNEL.format(self._engine))
        _check_size(data)
        try:
            return self._channel(lines.ASKS + bytes(data[lines.HEADER :]))
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise error_that_passes()(_NO_ANSWER_THERE.format(self._engine, reason)) from error
