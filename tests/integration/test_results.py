"""Results as the XCom of a task: which can be one, and how large it will be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import msgspec
import numpy as np
import pytest
from airflow.sdk.api.datamodels._generated import XComResponse
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import xcom
from pydantic import BaseModel, JsonValue, TypeAdapter

from airflow_joblib.taskflow.task import xcom as task_xcom
from airflow_joblib.taskflow.task.xcom_check import unfit

try:
    from airflow.sdk import serde
except ImportError:  # Airflow 3.1
    from airflow.serialization import serde  # type: ignore[attr-defined, no-redef]

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration

BACKEND = "airflow.providers.common.io.xcom.backend"


@dataclass
class Reading:
    value: Any


class Model(BaseModel):
    n: int


@attrs.define
class Attrs:
    n: int


class Colour(StrEnum):
    RED = "red"


class Shape(Enum):
    ROUND = 1


class Pair(NamedTuple):
    n: int
    text: str


class Opaque:
    """Nothing that Airflow can serialize."""


@pytest.fixture
def object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store XComs by a backend derived from Airflow's object storage backend."""
    backend = pytest.importorskip(BACKEND, reason="The provider common.io is not installed.").XComObjectStorageBackend
    monkeypatch.setattr(xcom, "XCom", type("Own", (backend,), {}))


@pytest.mark.parametrize(
    "value",
    [
        1,
        "text",
        None,
        2**64 - 1,
        -(2**63),
        1.5,
        True,
        "\\u0000 is no NUL",
        [1, {"a": (2.5, True)}],
        {1: "a", None: "b"},
        {1, 2},
        datetime(2026, 1, 1, tzinfo=UTC),
        Decimal("1.5"),
        np.float64(1.5),
        np.int32(3),
        Colour.RED,
        Pair(1, "a"),
        [[] for _ in range(1000)],
    ],
    ids=str,
)
def test_fit_for_an_xcom(value: Any) -> None:
    """What reaches a task downstream passes."""
    assert unfit(0, value) is None
    assert is_pulled(value)


def is_pulled(value: Any) -> bool:
    """Whether a value takes every step from one task to another: messages, requests, the database's JSON."""
    message = msgspec.msgpack.decode(msgspec.msgpack.encode(serde.serialize([value])))
    body = json.dumps(message, allow_nan=False, ensure_ascii=False).encode()
    stored = TypeAdapter(JsonValue).validate_python(json.loads(body))
    answer = XComResponse.model_validate_json(json.dumps({"key": "k", "value": stored}))
    loaded: Any = answer.value
    serde.deserialize(loaded)
    return b"\\u0000" not in json.dumps(stored).encode().replace(rb"\\", b"")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        (float("nan"), " (float) is nan", "Return None"),
        ({"a": [1.0, float("inf")]}, " → ['a'] → [1] (float) is inf", "Return None"),
        (-float("inf"), " (float) is -inf", "Return None"),
        ([np.float64("nan")], " → [0] (numpy.float64) is nan", "Return None"),
        (10**30, " (int) has more than the 64 bits", "str(n)"),
        ((1, {"b": -(2**63) - 1}), " → [1] → ['b'] (int) has more", "str(n)"),
        ("\ud800", " (str) has half of a surrogate pair", "errors='replace'"),
        ({"\udc80": 1}, " → key '\\udc80' (str) has half of a surrogate pair", "errors='replace'"),
        (["a", "b\0c"], " → [1] (str) has a NUL character", "PostgreSQL"),
        (nested(250), " (list) is nested deeper than 190 levels", "less nested"),
        (b"x", " (bytes) can't be serialized: ", "base64.b64encode"),
        ([{"x": bytearray(b"x")}], " → [0] → ['x'] (bytearray) can't be serialized: ", "base64.b64encode"),
        (Shape.ROUND, f" ({__name__}.Shape) can't be serialized: ", ".value"),
        (Reading(1), f" ({__name__}.Reading) can't be loaded by a task downstream: ", "dataclasses.asdict()"),
        ([Model(n=1)], f" → [0] ({__name__}.Model) can't be loaded by a task downstream: ", ".model_dump("),
        (Attrs(1), f" ({__name__}.Attrs) can't be loaded by a task downstream: ", "attrs.asdict()"),
        ({"__classname__": "x"}, " (dict) can't be serialized: ", "plain data"),
        (Reading([Reading(float("nan"))]), " → .value → [0] → .value (float) is nan", "Return None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_task_downstream_would_get(value: Any, path: str, why: str) -> None:
    """What a step from one task to another refuses is refused as it arrives: by path, type and with a way out."""
    found = unfit(3, value)
    assert found is not None
    assert found.startswith(f"The result of item 3 can't be in an XCom: result of item 3{path}")
    assert why in found


def test_circle() -> None:
    """A result that holds itself is refused."""
    circle: list[Any] = []
    circle.append(circle)
    assert "can't be in an XCom" in str(unfit(0, circle))


def test_class_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that Airflow may load passes."""
    monkeypatch.setattr(serde, "_match", lambda name: name.endswith("Reading"))
    assert unfit(0, Reading(1)) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Opaque(), "result of item 7 ("),
        ({"a": [1, Opaque()]}, "result of item 7 → ['a'] → [1] ("),
        ((1, {"b": {"c": Opaque()}}), "result of item 7 → [1] → ['b'] → ['c'] ("),
        (Reading([Opaque()]), "result of item 7 → .value → [0] ("),
    ],
)
def test_not_fit_for_an_xcom(value: Any, path: str) -> None:
    """The message has the item, the path, the type and a way out."""
    message = unfit(7, value)
    assert message is not None
    assert message.startswith(f"The result of item 7 can't be in an XCom: {path}")
    assert f"{Opaque.__module__}.Opaque) can't be serialized: " in message
    assert message.endswith(
        "Return plain data (numbers, strings, lists, dicts), or store the result elsewhere in the "
        "function and return where it is."
    )


def check() -> Any:
    """What a task that returns the results of *work* checks them with."""
    return task_xcom.check_of(work)


def work(item: int) -> int:
    return item


@pytest.fixture
def _whole_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the running task be the fan-out of *work*."""
    task = SimpleNamespace(python_callable=SimpleNamespace(function=work), do_xcom_push=True)
    monkeypatch.setattr(task_xcom, "_context", lambda: {"task": task})


@pytest.mark.usefixtures("object_storage", "_whole_task")
def test_checked_for_object_storage_too() -> None:
    """Airflow's object storage backend serializes as Airflow does, so the check holds there."""
    assert "can't be in an XCom" in check()(0, Opaque())


@pytest.mark.usefixtures("_whole_task")
def test_backend_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that serializes in its own way may take anything."""
    assert check() is not None
    own = type("Own", (BaseXCom,), {"serialize_value": staticmethod(lambda value, **_: "")})
    monkeypatch.setattr(xcom, "XCom", own)
    assert check() is None


def test_no_xcom() -> None:
    """Nothing is checked where the results are no XCom: the fan-out is a part of the task, or there is none."""
    assert check() is None


@pytest.mark.parametrize(
    "values", [[], [1, 2, 3], ["x" * 100] * 50, [{"n": n, "text": "x" * 200} for n in range(5000)]]
)
def test_size(values: Sequence[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The size is about that of what Airflow stores, though only a thousand results are looked at."""
    assert task_xcom.size(values) == pytest.approx(len(json.dumps(serde.serialize(values))), rel=0.02, abs=4)
    assert not caplog.records


LARGE = ["x" * 1000] * 6000


def test_large(caplog: pytest.LogCaptureFixture) -> None:
    """A large XCom is warned of, with its size and the backend to use instead."""
    task_xcom.size(LARGE)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("The results have about 6 MiB, all of which will be one row of ")
    assert (
        "Set Airflow's object storage backend for XComs ([core] xcom_backend, from the provider common.io)"
        in caplog.text
    )


@pytest.mark.usefixtures("object_storage")
def test_large_in_object_storage(caplog: pytest.LogCaptureFixture) -> None:
    """Where that backend is used there is nothing to warn of."""
    task_xcom.size(LARGE)
    assert not caplog.records


def test_size_of_what_is_not_fit() -> None:
    """What can't be serialized has no size; Airflow itself says so."""
    assert task_xcom.size([Opaque()]) == 0


@pytest.mark.parametrize(
    "value",
    [
        {"id": 12345, "name": "thumbnail", "sizes": [1.5, 2, None, True], "where": "s3://bucket/" + "x" * 80},
        ("text", 1.5, [1, 2, 3]),
        {"at": datetime(2026, 1, 1, tzinfo=UTC), "score": 0.5}["at"],
        np.float64(1.5),
        "x" * 10_000,
    ],
    ids=["row", "tuple", "date", "NumPy", "text"],
)
def test_cost(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """To check 10,000 results takes less than 2 % of 10,000 items of a millisecond."""
    unfit(0, value)  # what is done once
    began = time.process_time()
    for index in range(10_000):
        unfit(index, value)
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f"\n10,000 results checked in {seconds:.3f} s")
    assert seconds < 0.02 * 10
