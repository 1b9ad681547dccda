"""Results as the XCom of a task: which can be one, and how large it will be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import xcom
from airflow.sdk.serde import serialize

from airflow_joblib.taskflow import results

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.integration

BACKEND = "airflow.providers.common.io.xcom.backend"


@dataclass
class Reading:
    value: Any


class Opaque:
    """Nothing that Airflow can serialize."""


@pytest.fixture
def object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store XComs by a backend derived from Airflow's object storage backend."""
    backend = pytest.importorskip(BACKEND, reason="The provider common.io is not installed.").XComObjectStorageBackend
    monkeypatch.setattr(xcom, "XCom", type("Own", (backend,), {}))


@pytest.mark.parametrize(
    "value", [1, "text", None, [1, {"a": (2.5, True)}], datetime(2026, 1, 1, tzinfo=UTC), Reading(1)]
)
def test_fit_for_an_xcom(value: Any) -> None:
    """What Airflow serializes passes."""
    results.check(0, value)


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
    with pytest.raises(TypeError) as caught:
        results.check(7, value)
    message = str(caught.value)
    assert message.startswith(f"The result of item 7 can't be in an XCom: {path}")
    assert f"{Opaque.__module__}.Opaque) can't be serialized: " in message
    assert message.endswith(
        "Return plain data (numbers, strings, lists, dicts), or store the result elsewhere in the "
        "function and return where it is."
    )


@pytest.mark.usefixtures("object_storage")
def test_checked_for_object_storage_too() -> None:
    """Airflow's object storage backend serializes as Airflow does, so the check holds there."""
    with pytest.raises(TypeError, match="can't be in an XCom"):
        results.check(0, Opaque())


def test_backend_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that serializes in its own way may take anything."""
    own = type("Own", (BaseXCom,), {"serialize_value": staticmethod(lambda value, **_: "")})
    monkeypatch.setattr(xcom, "XCom", own)
    results.check(0, Opaque())


@pytest.mark.parametrize(
    "values", [[], [1, 2, 3], ["x" * 100] * 50, [{"n": n, "text": "x" * 200} for n in range(5000)]]
)
def test_size(values: Sequence[Any], caplog: pytest.LogCaptureFixture) -> None:
    """The size is about that of what Airflow stores, though only a thousand results are looked at."""
    assert results.size(values) == pytest.approx(len(json.dumps(serialize(values))), rel=0.02, abs=4)
    assert not caplog.records


LARGE = ["x" * 1000] * 6000


def test_large(caplog: pytest.LogCaptureFixture) -> None:
    """A large XCom is warned of, with its size and the backend to use instead."""
    results.size(LARGE)
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
    results.size(LARGE)
    assert not caplog.records


def test_size_of_what_is_not_fit() -> None:
    """What can't be serialized has no size; Airflow itself says so."""
    assert results.size([Opaque()]) == 0
