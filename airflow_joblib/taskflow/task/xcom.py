"""The results of a run as the XCom of its task: whether they can be one, how large, and the failures beside them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_joblib.system import plain_json
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.relay.worker_context import task_context
from airflow_joblib.taskflow.task import masks
from airflow_joblib.taskflow.task.xcom_check import serialized, unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "are_xcom",
    "call_off",
    "check_of",
    "is_whole_task",
    "publish_failures",
    "serialized_by_airflow",
    "size",
    "stored_elsewhere",
    "when_over",
    "when_succeeded",
]

log = logging.getLogger("airflow_joblib")

#: Bytes of an XCom beyond which the metadata database is the wrong place for it.
_LARGE = 4 << 20
_LARGE_XCOM = (
    "The results have about %.0f MiB, all of which will be one row of Airflow's metadata database. Set Airflow's "
    "object storage backend for XComs ([core] xcom_backend, from the provider common.io), or store the results in the "
    "function and return where they are."
)
#: Results that are looked at to estimate the size of all.
_SAMPLE = 1000


def are_xcom(function: object) -> bool:
    """Return whether the list of results that *function* gives for its items will be the XCom of the running task."""
    return is_whole_task(function) and bool(getattr(_context().get("task"), "do_xcom_push", False))


def is_whole_task(function: object) -> bool:
    """Return whether the fan-out of *function* is all that the running task does."""
    whole = getattr(_context().get("task"), "python_callable", None)
    return getattr(whole, "function", None) is function


def _context() -> Mapping[str, Any]:
    return task_context() or {}


def check_of(function: object) -> Callable[[int, object], str | None] | None:
    """Return a check of whether a result fits the XCom of the running task; None where none will be in it.

    It takes the item's position in the input and its result, and returns None for one that can.
    """
    return unfit if are_xcom(function) and serialized_by_airflow() else None


def serialized_by_airflow() -> bool:
    """Return whether XComs are stored in the way of Airflow itself; a backend of one's own may do as it likes."""
    own: bool = airflow_internals.XCom.serialize_value is airflow_internals.BaseXCom.serialize_value
    return own or stored_elsewhere()


def stored_elsewhere() -> bool:
    """Return whether XComs go to Airflow's object storage backend."""
    return any(kind.__name__ == "XComObjectStorageBackend" for kind in airflow_internals.XCom.__mro__)


def _size(value: object) -> int:
    return len(plain_json.dumps(serialized(value)))


def size(values: Sequence[Any]) -> int:
    """Return about how many bytes *values* take as an XCom, from a thousand of them; warn where that is a lot."""
    sample = values[:: max(1, -(-len(values) // _SAMPLE))]
    try:
        found = sum(_size(value) + 2 for value in sample) * len(values) // max(1, len(sample))
    except Exception:  # noqa: BLE001 - Airflow itself will report it
        return 0
    if found > _LARGE and not stored_elsewhere():
        log.warning(_LARGE_XCOM, found / 2**20)
    return found


#: Neither of these states is tried again.
_AFTER_SUCCESS = ("on_success_callback", "on_skipped_callback")
_AFTER_FAILURE = ("on_failure_callback", "on_retry_callback")


#: Context of the try whose acts after its success are called off.
_called_off: Mapping[str, Any] | None = None


def when_succeeded(act: Callable[[], object]) -> None:
    """Call *act* after the running task has succeeded or was skipped, as Airflow calls a callback of the task."""
    this_try = _context()
    _call_back(lambda: None if _called_off is this_try else act(), _AFTER_SUCCESS)


def call_off() -> None:
    """Let nothing be called that :func:`when_succeeded` was or will be given in this try of the task."""
    global _called_off  # noqa: PLW0603 - a process runs one try of one task
    _called_off = _context()


def when_over(act: Callable[[], object]) -> None:
    """Call *act* after this try of the running task, however it ends, as Airflow calls a callback of the task."""
    _call_back(act, (*_AFTER_SUCCESS, *_AFTER_FAILURE))


def _call_back(act: Callable[[], object], names: Iterable[str]) -> None:
    task: Any = _context().get("task")
    if task is None:
        act()
        return
    for name in names:
        setattr(task, name, [*(getattr(task, name, None) or ()), lambda context: act()])  # noqa: ARG005


def publish_failures(records: list[Mapping[str, Any]]) -> None:
    """Push the records of failed items as the XCom ``failures`` of the running task."""
    ti = _context().get("ti")
    if ti is not None:
        # Masked again: a secret may have become known since a record was made, and an XCom is shown in the UI.
        ti.xcom_push(key="failures", value=[masks.masked(dict(record)) for record in records])
