"""What a unit test gives a task to find, as the API server would hold it: Variables, Connections, XComs and state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow.sdk import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GivenConnection", "Store", "XComPlace", "connection_fields"]

#: A URI, the fields by their names, or a connection.
GivenConnection: TypeAlias = "str | Mapping[str, Any] | Connection"
_FIELDS = ("conn_type", "host", "schema", "login", "password", "port", "extra")


@dataclass(frozen=True, slots=True)
class XComPlace:
    """Where an XCom is, but for the map index.

    Attributes:
        dag_id: Of the DAG.
        run_id: Of the DAG run.
        task_id: Of the task.
        key: Its own name.
    """

    dag_id: str
    run_id: str
    task_id: str
    key: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> XComPlace:
        """Return the one that a request is about."""
        return cls(*(body[name] for name in ("dag_id", "run_id", "task_id", "key")))


@dataclass
class Store:
    """What the stand-in supervisor answers from.

    Attributes:
        variables: Values, as texts.
        connections: Fields of connections by their id.
        xcoms: Serialized values by their place, and there by the map index.
        state: Values of ``task_state_store``.
        own_run: ``dag_id`` and ``run_id`` of the made-up DAG run.
    """

    variables: dict[str, str] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    xcoms: dict[XComPlace, dict[int, Any]] = field(default_factory=dict)
    state: dict[tuple[str, str], Any] = field(default_factory=dict)
    own_run: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, variables: Mapping[str, Any] | None, connections: Mapping[str, GivenConnection] | None) -> Store:
        """Make one of what a test gives: a Variable that is no text becomes JSON, as Airflow's own forms do it."""
        texts = {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in (variables or {}).items()
        }
        return cls(texts, {name: connection_fields(name, given) for name, given in (connections or {}).items()})

    def sequence(self, place: XComPlace) -> list[Any]:
        """Return the XComs of all mapped instances, in order."""
        return [value for _, value in sorted(self.xcoms.get(place, {}).items())]

    def of_task(self, place: XComPlace, map_index: int) -> dict[str, Any]:
        """Return all XComs of a task instance by their key, serialized; the key of *place* is not looked at."""
        return {
            found.key: values[map_index]
            for found, values in self.xcoms.items()
            if (found.dag_id, found.run_id, found.task_id) == (place.dag_id, place.run_id, place.task_id)
            and map_index in values
        }


def connection_fields(conn_id: str, given: GivenConnection) -> dict[str, Any]:
    """Return the fields of a connection as the API server sends them.

    Raises:
        TypeError: It is none of what a connection can be given as, or has a field that no connection has.
    """
    if isinstance(given, str):
        given = Connection.from_uri(given, conn_id)
    if isinstance(given, Mapping):
        _check_fields(conn_id, given)
        values = dict(given)
    elif isinstance(given, Connection):
        values = {name: getattr(given, name) for name in _FIELDS}
        values["extra"] = None if values["extra"] == "{}" else values["extra"]
    else:
        kind = type(given).__name__
        msg = f"The connection {conn_id!r} is a {kind}. Give a URI, a mapping of its fields, or a Connection."
        raise TypeError(msg)
    if isinstance(values.get("extra"), Mapping):
        values["extra"] = json.dumps(values["extra"])
    return {**dict.fromkeys(_FIELDS), **values, "conn_id": conn_id}


def _check_fields(conn_id: str, given: Iterable[str]) -> None:
    if unknown := sorted(set(given) - {*_FIELDS, "conn_id"}):
        msg = f"The connection {conn_id!r} has no field {unknown[0]!r}. Its fields are {', '.join(_FIELDS)}."
        raise TypeError(msg)
    if "conn_type" not in given:
        msg = f"The connection {conn_id!r} has no conn_type, which every connection has."
        raise TypeError(msg)
