"""The results of a run as the XCom of its task: whether they can be one, how large, and the failures beside them."""

from __future__ import annotations

import json
import logging
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from airflow_joblib.picklability.pickler import dotted_name
from airflow_joblib.taskflow import masks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "are_xcom",
    "check",
    "is_whole_task",
    "publish_failures",
    "size",
    "stored_elsewhere",
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
#: Results that are looked at to tell the size of all.
_SAMPLE = 1000

_NO_XCOM = (
    "The result of item {index} can't be in an XCom: {path} ({type}) can't be serialized: {why} Return plain data "
    "(numbers, strings, lists, dicts), or store the result elsewhere in the function and return where it is."
)


def are_xcom(function: object) -> bool:
    """Tell whether the list of results that *function* gives for its items will be the XCom of the running task."""
    return is_whole_task(function) and bool(getattr(_context().get("task"), "do_xcom_push", False))


def is_whole_task(function: object) -> bool:
    """Tell whether the fan-out of *function* is all that the running task does."""
    whole = getattr(_context().get("task"), "python_callable", None)
    return getattr(whole, "function", None) is function


def _context() -> Mapping[str, Any]:
    from airflow.sdk import get_current_context

    try:
        return get_current_context()
    except RuntimeError:  # no task runs here
        return {}


def check(index: int, value: object) -> None:
    """Check that the result of one item can be serialized.

    Raises:
        TypeError: It can't; the message has the item, the path to what can't and its type.
    """
    if not _serialized_by_airflow():
        return
    try:
        _size(value)
    except Exception as error:  # noqa: BLE001 - serializers raise what they please
        path, culprit, why = _culprit(value, f"result of item {index}", error)
    else:
        return
    raise TypeError(_NO_XCOM.format(index=index, path=path, type=dotted_name(type(culprit)), why=f"{why}."))


def _serialized_by_airflow() -> bool:
    """Tell whether XComs are stored in the way of Airflow itself; a backend of one's own may do as it likes."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time.xcom import XCom

    return stored_elsewhere() or XCom.serialize_value is BaseXCom.serialize_value


def stored_elsewhere() -> bool:
    """Tell whether XComs go to Airflow's object storage backend."""
    from airflow.sdk.execution_time.xcom import XCom

    return any(kind.__name__ == "XComObjectStorageBackend" for kind in XCom.__mro__)


def _size(value: object) -> int:
    try:
        from airflow.sdk.serde import serialize
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serde import serialize  # type: ignore[import-not-found, no-redef]
    return len(json.dumps(serialize(value)))


def _culprit(value: object, path: str, error: Exception) -> tuple[str, object, Exception]:
    """Follow a value that can't be serialized down to the part that can't."""
    for step, child in _children(value):
        try:
            _size(child)
        except Exception as below:  # noqa: BLE001
            return _culprit(child, f"{path} → {step}", below)
    return path, value, error


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", child) for key, child in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{place}]", child) for place, child in enumerate(value))
    elif is_dataclass(value):
        yield from ((f".{field.name}", getattr(value, field.name)) for field in fields(value))


def size(values: Sequence[Any]) -> int:
    """Return about how many bytes *values* take as an XCom, from a thousand of them; warn where that is a lot."""
    sample = values[:: max(1, -(-len(values) // _SAMPLE))]
    try:
        found = sum(_size(value) + 2 for value in sample) * len(values) // max(1, len(sample))
    except Exception:  # noqa: BLE001 - Airflow itself will say so
        return 0
    if found > _LARGE and not stored_elsewhere():
        log.warning(_LARGE_XCOM, found / 2**20)
    return found


def when_succeeded(act: Callable[[], object]) -> None:
    """Call *act* after the running task has succeeded or was skipped, as Airflow calls a callback of the task."""
    task: Any = _context().get("task")
    if task is None:
        act()
        return
    for name in ("on_success_callback", "on_skipped_callback"):  # neither state is tried again
        setattr(task, name, [*(getattr(task, name, None) or ()), lambda context: act()])  # noqa: ARG005


def publish_failures(records: list[Mapping[str, Any]]) -> None:
    """Push the records of failed items as the XCom ``failures`` of the running task."""
    ti = _context().get("ti")
    if ti is not None:
        # Masked again: a secret may have become known since a record was made, and an XCom is shown in the UI.
        ti.xcom_push(key="failures", value=[masks.masked(dict(record)) for record in records])
