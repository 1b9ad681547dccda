"""The task's context in a worker process: what ``get_current_context()`` returns there.

Values are pickled one by one in the task's process and unpickled when they are read, as some need Airflow. What
only sends requests to the supervisor is made anew in the worker. What belongs to the task's process raises an error
with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ParallelTaskError
from airflow_joblib.pickling.pickler import dumps, loads
from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WorkerContext", "task_context", "travelling"]

_TI_ID = "ti_id"
_VALUES = "`run_id`, `ds`, `logical_date`, `params`, `try_number` and `map_index` are there"
_STAYS = "context[{!r}] can't travel to a worker process: it belongs to the process of the task. {}"
#: What stays in the task's process, with the way out.
_STAYING = {
    **dict.fromkeys(("ti", "task_instance"), f"{_VALUES}; an XCom can be read with XCom.get_one()."),
    **dict.fromkeys(("dag", "task"), f"{_VALUES}; pass anything else as a shared argument."),
    "outlet_events": "Return the value, and add it to the event in a task downstream.",
}
_MADE_ANEW = frozenset({"conn", "var"})
#: These send a request to the supervisor when they are used; the attribute of its answer.
_PREVIOUS = {
    "prev_data_interval_end_success": "data_interval_end",
    "prev_data_interval_start_success": "data_interval_start",
    "prev_end_date_success": "end_date",
    "prev_start_date_success": "start_date",
}


def task_context() -> Mapping[str, Any] | None:
    """Return the context of the task that runs here; None where none does."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()
    except RuntimeError:
        return None


def travelling(context: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what of a task's context can travel, each value pickled by itself.

    Only what Airflow itself puts there: a PythonOperator adds the arguments of the call, all items among them.
    """
    from airflow.sdk import Context

    known = Context.__annotations__.keys() - _STAYING.keys() - _MADE_ANEW - _PREVIOUS.keys()
    ti = context.get("ti")
    values = {name: context[name] for name in known & context.keys()}
    if ti is not None:
        values |= {"try_number": ti.try_number, "map_index": ti.map_index, _TI_ID: ti.id}
    found = {name: _pickled(value) for name, value in values.items()}
    return {name: data for name, data in found.items() if data}


def _pickled(value: object) -> bytes:
    try:
        return dumps(value, verify=True)
    except Exception:  # noqa: BLE001 - it stays, and reading it is an error
        return b""


class WorkerContext(Mapping[str, Any]):
    """The context of the task, as far as it can travel; read-only.

    Args:
        values: What :func:`travelling` returned.
    """

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._pickled = values
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in _STAYING:
            raise ParallelTaskError(_STAYS.format(name, _STAYING[name]))
        if name not in self:
            msg = f"{name} (not in the task's context, or it can't travel to a worker process)"
            raise KeyError(msg)
        if name not in self._values:
            self._values[name] = self._load(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"<the task's context in a worker process: {', '.join(self)}>"

    def _names(self) -> list[str]:
        previous = _PREVIOUS if _TI_ID in self._pickled else {}
        return sorted((self._pickled.keys() | _MADE_ANEW | previous.keys()) - {_TI_ID})

    def _load(self, name: str) -> Any:
        if name in _PREVIOUS:
            return self._previous(_PREVIOUS[name])
        return _made_anew(name) if name in _MADE_ANEW else loads(self._pickled[name])

    def _previous(self, attribute: str) -> Any:
        run = airflow_internals.get_previous_dagrun_success(loads(self._pickled[_TI_ID]))
        return airflow_internals.coerce_datetime(getattr(run, attribute))


def _made_anew(name: str) -> Any:
    if name == "conn":
        return airflow_internals.ConnectionAccessor()
    return {
        "json": airflow_internals.VariableAccessor(deserialize_json=True),
        "value": airflow_internals.VariableAccessor(deserialize_json=False),
    }
