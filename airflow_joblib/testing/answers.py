"""What the stand-in supervisor answers, by the kind of the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_internals import ErrorResponse, ErrorType, message
from airflow_joblib.testing.store import XComPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_joblib.testing.store import Store

__all__ = ["ANSWERS"]


def _missing(error: str, **detail: Any) -> Any:
    return ErrorResponse(error=getattr(ErrorType, error), detail=detail)


def _done() -> Any:
    return message("OKResponse")(ok=True)


def _get_variable(store: Store, body: Mapping[str, Any]) -> Any:
    key = body["key"]
    if key not in store.variables:
        return _missing("VARIABLE_NOT_FOUND", key=key)
    airflow_internals.secrets_masker().add_mask(store.variables[key], key)
    return message("VariableResult")(key=key, value=store.variables[key])


def _get_variable_keys(store: Store, body: Mapping[str, Any]) -> Any:
    found = sorted(key for key in store.variables if key.startswith(body.get("prefix") or ""))
    begin = body.get("offset", 0)
    keys = found[begin : begin + body.get("limit", 1000)]
    return message("VariableKeysResult")(keys=keys, total_entries=len(found))


def _put_variable(store: Store, body: Mapping[str, Any]) -> Any:
    store.variables[body["key"]] = body["value"]
    return _done()


def _delete_variable(store: Store, body: Mapping[str, Any]) -> Any:
    store.variables.pop(body["key"], None)
    return _done()


def _get_connection(store: Store, body: Mapping[str, Any]) -> Any:
    conn_id = body["conn_id"]
    if conn_id not in store.connections:
        return _missing("CONNECTION_NOT_FOUND", conn_id=conn_id)
    fields = store.connections[conn_id]
    for secret in (fields["password"], fields["extra"]):
        if secret:
            airflow_internals.secrets_masker().add_mask(secret)
    return message("ConnectionResult").model_validate(fields)


def _get_xcom(store: Store, body: Mapping[str, Any]) -> Any:
    found = store.xcoms.get(XComPlace.of(body), {})
    index = body.get("map_index")
    return message("XComResult")(key=body["key"], value=found.get(-1 if index is None else index))


def _get_xcom_count(store: Store, body: Mapping[str, Any]) -> Any:
    return message("XComCountResponse")(len=len(store.sequence(XComPlace.of(body))))


def _get_xcom_item(store: Store, body: Mapping[str, Any]) -> Any:
    found = store.sequence(XComPlace.of(body))
    try:
        value = found[body["offset"]]
    except IndexError:
        names = ("dag_id", "run_id", "task_id", "key", "offset")
        return _missing("XCOM_NOT_FOUND", **{name: body[name] for name in names})
    return message("XComSequenceIndexResult")(root=value)


def _get_xcom_slice(store: Store, body: Mapping[str, Any]) -> Any:
    part = slice(body["start"], body["stop"], body["step"])
    return message("XComSequenceSliceResult")(root=store.sequence(XComPlace.of(body))[part])


def _set_xcom(store: Store, body: Mapping[str, Any]) -> Any:
    index = body.get("map_index")
    store.xcoms.setdefault(XComPlace.of(body), {})[-1 if index is None else index] = body["value"]


def _delete_xcom(store: Store, body: Mapping[str, Any]) -> Any:
    index = body.get("map_index")
    store.xcoms.get(XComPlace.of(body), {}).pop(-1 if index is None else index, None)


def _get_state(store: Store, body: Mapping[str, Any]) -> Any:
    place = str(body["ti_id"]), body["key"]
    if place not in store.state:
        return _missing("TASK_STORE_NOT_FOUND", key=body["key"])
    return message("TaskStateStoreResult")(value=store.state[place])


def _set_state(store: Store, body: Mapping[str, Any]) -> Any:
    store.state[str(body["ti_id"]), body["key"]] = body["value"]
    return _done()


def _delete_state(store: Store, body: Mapping[str, Any]) -> Any:
    store.state.pop((str(body["ti_id"]), body["key"]), None)
    return _done()


def _clear_state(store: Store, body: Mapping[str, Any]) -> Any:
    for place in [place for place in store.state if place[0] == str(body["ti_id"])]:
        del store.state[place]
    return _done()


def _get_run_state(store: Store, body: Mapping[str, Any]) -> Any:
    """Return the state of the only DAG run that there is."""
    if (body["dag_id"], body["run_id"]) == store.own_run:
        return message("DagRunStateResult")(state="running")
    return _missing("API_SERVER_ERROR", status_code=404, message="Not Found")


def _none(kind: str, **fields: Any) -> Callable[[Store, Mapping[str, Any]], Any]:
    """Answer that there is none: the made-up DAG run is the first of its DAG, and nobody has made an asset."""
    return lambda _store, _body: message(kind)(**fields)


def _no_asset(store: Store, body: Mapping[str, Any]) -> Any:
    del store
    return _missing("ASSET_NOT_FOUND", **{name: body[name] for name in ("name", "uri") if name in body})


def _noted(store: Store, body: Mapping[str, Any]) -> None:
    """Take note of what becomes of the task, to which a supervisor answers nothing."""
    del store, body


#: By the kind of the message; what this Airflow doesn't have is never requested.
ANSWERS: dict[str, Callable[[Store, Mapping[str, Any]], Any]] = {
    "ClearTaskStateStore": _clear_state,
    "DeleteTaskStateStore": _delete_state,
    "DeleteVariable": _delete_variable,
    "DeleteXCom": _delete_xcom,
    "GetAssetByName": _no_asset,
    "GetAssetByUri": _no_asset,
    "GetAssetEventByAsset": _none("AssetEventsResult", asset_events=[]),
    "GetAssetEventByAssetAlias": _none("AssetEventsResult", asset_events=[]),
    "GetConnection": _get_connection,
    "GetDagRunState": _get_run_state,
    "GetPrevSuccessfulDagRun": _none("PrevSuccessfulDagRunResult"),
    "GetPreviousDagRun": _none("PreviousDagRunResult"),
    "GetPreviousTI": _none("PreviousTIResult"),
    "GetTaskRescheduleStartDate": _none("TaskRescheduleStartDate", start_date=None),
    "GetTaskStateStore": _get_state,
    "GetVariable": _get_variable,
    "GetVariableKeys": _get_variable_keys,
    "GetXCom": _get_xcom,
    "GetXComCount": _get_xcom_count,
    "GetXComSequenceItem": _get_xcom_item,
    "GetXComSequenceSlice": _get_xcom_slice,
    "PutVariable": _put_variable,
    "SetTaskStateStore": _set_state,
    "SetXCom": _set_xcom,
    "ValidateInletsAndOutlets": _none("InactiveAssetsResult", inactive_assets=[]),
} | dict.fromkeys(
    str.split("""
    MaskSecret RetryTask SetRenderedFields SetRenderedMapIndex SkipDownstreamTasks SucceedTask TaskState"""),
    _noted,
)
