"""Where a cluster is, from an Airflow connection.

================  ==========================================================================================
of the connection  becomes
================  ==========================================================================================
host, port         ``address``, with the engine's usual port where there is none; the host may name a protocol
password           ``token`` on Ray, ``secret`` on Spark
extra              every other option of the engine, by its own name: ``tls_ca_file``, ``timeout``, ``conf`` ...
================  ==========================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.taskflow.airflow_internals import mask_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["options_of"]

_PORTS = {"dask": 8786, "ray": 10001, "spark": 7077}
_PROTOCOLS = {"dask": "tcp", "ray": "ray", "spark": "spark"}
#: With TLS files.
_SECURE = {**_PROTOCOLS, "dask": "tls"}
#: What an engine calls the one thing that must not be known.
_PASSWORDS = {"ray": "token", "spark": "secret"}
_HIDDEN = ("tls_client_key", *_PASSWORDS.values())


def options_of(backend: str, conn_id: str) -> Mapping[str, Any]:
    """Return the options of an engine that a connection holds.

    Raises:
        InvalidOptionError: The backend is no engine, or the connection has what the engine can't use.
        AirflowNotFoundException: There is no such connection.
    """
    if backend not in _PORTS:
        msg = f"A conn_id in backend_options is for {', '.join(_PORTS)}: the backend {backend!r} connects to nothing."
        raise InvalidOptionError(msg)
    connection = Connection.get(conn_id)
    options = dict(connection.extra_dejson)
    if connection.host:
        options.setdefault("address", _address(backend, connection, secure="tls_ca_file" in options))
    if connection.password:
        if backend not in _PASSWORDS:
            msg = f"The connection {conn_id!r} has a password, which {backend} can't use. It takes TLS files, in extra."
            raise InvalidOptionError(msg)
        options.setdefault(_PASSWORDS[backend], connection.password)
    for name in _HIDDEN:
        if name in options:
            mask_secret(options[name])
    return options


def _address(backend: str, connection: Connection, *, secure: bool) -> str:
    protocol, _, host = str(connection.host).rpartition("://")
    protocol = protocol or (_SECURE if secure else _PROTOCOLS)[backend]
    return f"{protocol}://{host}:{connection.port or _PORTS[backend]}"
