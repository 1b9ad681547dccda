"""Which requests of worker processes are answered, and how.

Frames are those of Airflow between a task and its supervisor: msgpack, checked against Airflow's own models. Only what
a task's code may ask for is passed on; what decides the task's own state, or hands out descriptors, is refused.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from airflow.sdk.log import mask_secret

__all__ = ["SERVED", "Answers"]

#: By name, since versions of Airflow differ; those an older one doesn't have are left out.
SERVED = frozenset(
    {
        "ClearAssetStateStoreByName",
        "ClearAssetStateStoreByUri",
        "ClearTaskStateStore",
        "DeleteAssetStateStoreByName",
        "DeleteAssetStateStoreByUri",
        "DeleteTaskStateStore",
        "DeleteVariable",
        "DeleteXCom",
        "GetAssetByName",
        "GetAssetByUri",
        "GetAssetEventByAsset",
        "GetAssetEventByAssetAlias",
        "GetAssetStateStoreByName",
        "GetAssetStateStoreByUri",
        "GetAssetsByAlias",
        "GetConnection",
        "GetDRCount",
        "GetDag",
        "GetDagRun",
        "GetDagRunState",
        "GetPrevSuccessfulDagRun",
        "GetPreviousDagRun",
        "GetPreviousTI",
        "GetTICount",
        "GetTaskBreadcrumbs",
        "GetTaskRescheduleStartDate",
        "GetTaskStateStore",
        "GetTaskStates",
        "GetVariable",
        "GetVariableKeys",
        "GetXCom",
        "GetXComCount",
        "GetXComSequenceItem",
        "GetXComSequenceSlice",
        "MaskSecret",
        "PutVariable",
        "SetAssetStateStoreByName",
        "SetAssetStateStoreByUri",
        "SetTaskStateStore",
        "SetXCom",
    }
)
_MODELS: dict[object, Any] = {name: getattr(comms, name) for name in SERVED if hasattr(comms, name)}
_REFUSED = getattr(ErrorType, "PERMISSION_DENIED", ErrorType.GENERIC_ERROR)


class Answers:
    """Answers a worker's frame with the supervisor's reply, or with the error that the supervisor raised.

    Args:
        supervisor: The task process's own line to its supervisor.
    """

    def __init__(self, supervisor: comms.CommsDecoder[Any, Any]) -> None:
        self._supervisor = supervisor
        self._turn = threading.Lock()  # the line has a lock, but not the one that ``dag.test()`` puts in its place
        self._request: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(comms._RequestFrame)  # noqa: SLF001

    def __call__(self, frame: bytes) -> bytearray:
        """Return the answer to *frame*, header included. Never raises."""
        number = 0
        try:
            request = self._request.decode(frame)
            number = request.id
            return _answer(number, _dumped(self._ask(request.body)))
        except Exception as error:  # noqa: BLE001 - the worker gets it
            return _answer(number, None, _response(error).model_dump())

    def _ask(self, body: dict[str, Any] | None) -> Any:
        kind = str((body or {}).get("type"))
        if kind not in _MODELS:
            raise AirflowRuntimeError(_refusal(kind))
        message = _MODELS[kind].model_validate(body)
        with self._turn:
            if kind != "MaskSecret":
                return self._reply(message)
            mask_secret(message.value, message.name)  # by the task itself, whose own log has to mask it too
            return None

    def _reply(self, message: Any) -> Any:
        """Return the reply to a request that is let through, or raise the error that it has."""
        return self._supervisor.send(message)


def _answer(number: int, body: dict[str, Any] | None, error: dict[str, Any] | None = None) -> bytearray:
    return comms._ResponseFrame(number, body, error).as_bytes()  # noqa: SLF001


def _dumped(reply: Any) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {"type": reply.type, **reply.model_dump(by_alias=True, exclude_unset=True)}


def _refusal(kind: str) -> comms.ErrorResponse:
    what = f"{kind} is" if hasattr(comms, kind) else "That is"
    return comms.ErrorResponse(
        error=_REFUSED, detail={"message": f"{what} not a request that a worker process may make of its task."}
    )


def _response(error: Exception) -> comms.ErrorResponse:
    """Return the supervisor's own error, or one that says what went wrong on the way, without any value."""
    if isinstance(error, AirflowRuntimeError):
        return error.error
    if type(error).__name__ == "AirflowSecretsBackendAccessDenied":
        return comms.ErrorResponse(error=_REFUSED, detail={"message": "Access denied."})
    return comms.ErrorResponse(
        detail={"message": f"The task's process could not pass the request on: {type(error).__name__}."}
    )
