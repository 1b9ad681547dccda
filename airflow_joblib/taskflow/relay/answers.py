"""Which requests of worker processes are answered, and how.

Frames are those of Airflow between a task and its supervisor: msgpack, checked against Airflow's own models. Only what
a task's code may ask for is passed on; what decides the task's own state, or hands out descriptors, is refused. The
kind of a request is looked at first: of what is refused, or too large for its kind, nothing is made from the bytes.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from airflow_joblib.taskflow import airflow_internals, airflow_names
from airflow_joblib.taskflow.airflow_internals import (
    AirflowRuntimeError,
    ErrorResponse,
    ErrorType,
    RequestFrame,
    ResponseFrame,
    mask_secret,
)
from airflow_joblib.taskflow.relay.framing import LIMIT
from airflow_joblib.taskflow.relay.request_size import has_more_values

__all__ = ["SERVED", "Answers"]

#: By name, since versions of Airflow differ; those an older one doesn't have are left out.
SERVED = frozenset((*airflow_names.REQUESTS, *airflow_names.LATER_REQUESTS))
_MODELS = {name: model for name in SERVED if (model := airflow_internals.message(name)) is not None}
#: The models by their kind as it stands in a frame.
_BY_KIND = {msgspec.msgpack.encode(name): str(name) for name in _MODELS}
#: Bytes of the largest request, of a kind that brings no value, and of one that does.
_WITHOUT_VALUE, _WITH_VALUE = 1 << 20, LIMIT
#: Bytes of a frame that are looked at for its kind.
_LONGEST_KIND = 100
#: The most values that a request may be made of, which take up to 64 bytes each.
_VALUES = 2_000_000
_REFUSED = getattr(ErrorType, "PERMISSION_DENIED", ErrorType.GENERIC_ERROR)


class _Kind(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw()


class _Head(msgspec.Struct, array_like=True):
    """What is read of a frame first; all else in it is skipped."""

    id: int
    body: _Kind | None = None


class Answers:
    """Answers a worker's frame with the supervisor's reply, or with the error that the supervisor raised.

    Args:
        supervisor: The task process's own line to its supervisor.
    """

    def __init__(self, supervisor: Any) -> None:
        self._supervisor = supervisor
        self._turn = threading.Lock()  # the line has a lock, but not the one that ``dag.test()`` puts in its place
        self._head = msgspec.msgpack.Decoder(_Head)
        self._request: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(RequestFrame)

    def __call__(self, frame: bytes) -> bytearray:
        """Return the answer to *frame*, header included. Never raises."""
        number = 0
        try:
            head = self._head.decode(frame)
            number = head.id
            kind = _kind(head.body)
            _check_size(kind, frame)
            with self._turn:  # from here on a large request takes many times its size
                return _answer(number, _dumped(self._ask(kind, self._request.decode(frame).body)))
        except Exception as error:  # noqa: BLE001 - the worker gets it
            return _answer(number, None, _response(error).model_dump())

    def _ask(self, kind: str, body: dict[str, Any]) -> Any:
        message = _MODELS[kind].model_validate(body)
        if kind != "MaskSecret":
            return self._reply(message)
        mask_secret(message.value, message.name)  # by the task itself, whose own log has to mask it too
        return None

    def _reply(self, message: Any) -> Any:
        """Return the reply to a request that is let through, or raise the error that it has."""
        return self._supervisor.send(message)


def _kind(body: _Kind | None) -> str:
    """Return the kind of a request.

    Raises:
        AirflowRuntimeError: A worker may not make it.
    """
    said = b"" if body is None else memoryview(body.type)
    kind = bytes(said[:_LONGEST_KIND])
    if kind not in _BY_KIND:
        raise AirflowRuntimeError(_refusal(_text(kind)))
    return _BY_KIND[kind]


def _text(kind: bytes) -> str:
    try:
        return str(msgspec.msgpack.decode(kind, type=str))
    except msgspec.DecodeError:
        return ""


def _check_size(kind: str, frame: bytes) -> None:
    """Check that a request is no larger than one of its kind can be.

    Raises:
        AirflowRuntimeError: It is.
    """
    most = _WITH_VALUE if kind.startswith(("Put", "Set")) else _WITHOUT_VALUE
    if len(frame) > most:
        why = f"{len(frame):,} bytes, of which {most:,} are the most"
    elif has_more_values(frame, _VALUES):
        why = f"more than {_VALUES:,} values"
    else:
        return
    message = f"{kind} is too large a request for a worker process to make: it has {why}."
    raise AirflowRuntimeError(ErrorResponse(error=_REFUSED, detail={"message": message}))


def _answer(number: int, body: dict[str, Any] | None, error: dict[str, Any] | None = None) -> bytearray:
    answer: bytearray = ResponseFrame(number, body, error).as_bytes()
    return answer


def _dumped(reply: Any) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"type": reply.type, **reply.model_dump(by_alias=True, exclude_unset=True)}


def _refusal(kind: str) -> Any:
    what = f"{kind} is" if airflow_internals.message(kind) is not None else "That is"
    return ErrorResponse(
        error=_REFUSED, detail={"message": f"{what} not a request that a worker process may make of its task."}
    )


def _response(error: Exception) -> Any:
    """Return the supervisor's own error, or one that names what went wrong on the way, without any value."""
    if isinstance(error, AirflowRuntimeError):
        own: Any = error
        return own.error
    if type(error).__name__ == "AirflowSecretsBackendAccessDenied":
        return ErrorResponse(error=_REFUSED, detail={"message": "Access denied."})
    return ErrorResponse(
        detail={"message": f"The task's process could not pass the request on: {type(error).__name__}."}
    )
