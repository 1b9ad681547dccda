"""A small client of Airflow's public REST API, from the standard library alone."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

__all__ = ["AirflowApi", "ApiError"]

_PAGE = 100  # [api] maximum_page_limit
_LOCAL = build_opener(ProxyHandler({}))  # the server is on this machine: never by way of the user's proxy

#: What the server says where SQLite was locked by others for too long; nothing has been done then.
_LOCKED = '"reason":"Database error"'
_TRIES = 5


class ApiError(RuntimeError):
    """The API answered with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(status, message)

    def __str__(self) -> str:
        return f"HTTP {self.args[0]}: {self.args[1]}"


class AirflowApi:
    """Talks to one API server on this machine, where everyone is an admin."""

    def __init__(self, url: str, *, timeout: float = 90) -> None:
        self.url = url
        self._timeout = timeout
        self._token: str | None = None

    def health(self) -> dict[str, str | None]:
        """Status of each component: ``healthy``, ``unhealthy`` or None for one that was never there."""
        answer = self._send("GET", "/api/v2/monitor/health", token=None)
        return {component: facts["status"] for component, facts in answer.items()}

    def get(self, *path: str, **query: Any) -> Any:
        """GET ``/api/v2/<path>``; each part of *path* is quoted."""
        return self._send("GET", _address(path, query), token=self._login())

    def post(self, *path: str, body: Any) -> Any:
        """POST *body* to ``/api/v2/<path>``."""
        return self._send("POST", _address(path, {}), token=self._login(), body=body)

    def patch(self, *path: str, body: Any, **query: Any) -> Any:
        """PATCH ``/api/v2/<path>`` with *body*."""
        return self._send("PATCH", _address(path, query), token=self._login(), body=body)

    def set_variable(self, key: str, value: str) -> None:
        """Make the variable, or change it: a test that is tried again has made it before."""
        self._set("variables", key, {"key": key, "value": value})

    def set_connection(self, connection_id: str, **fields: Any) -> None:
        """Make the connection, or change it."""
        self._set("connections", connection_id, {"connection_id": connection_id, **fields})

    def delete(self, *path: str) -> None:
        """DELETE ``/api/v2/<path>``."""
        self._send("DELETE", _address(path, {}), token=self._login())

    def all(self, *path: str, field: str) -> list[dict[str, Any]]:
        """Every page of a collection, *field* naming the list in the answer."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.get(*path, limit=_PAGE, offset=len(found))
            found += answer[field]
            if not answer[field] or len(found) >= answer["total_entries"]:
                return found

    def _set(self, collection: str, name: str, body: dict[str, Any]) -> None:
        try:
            self.post(collection, body=body)
        except ApiError as error:
            if error.status != 409:
                raise
            self.patch(collection, name, body=body)

    def _login(self) -> str:
        if self._token is None:
            self._token = str(self._send("GET", "/auth/token", token=None)["access_token"])
        return self._token

    def _send(self, method: str, address: str, *, token: str | None, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        # Always http://127.0.0.1, made by the harness itself.
        request = Request(self.url + address, data=data, headers=headers, method=method)
        for left in reversed(range(_TRIES)):
            try:
                text = self._open(request)
            except ApiError as error:
                if not left or _LOCKED not in str(error):
                    raise
                time.sleep(1)
            else:
                return json.loads(text) if text else None
        raise AssertionError

    def _open(self, request: Request) -> bytes:
        try:
            with _LOCAL.open(request, timeout=self._timeout) as answer:
                return bytes(answer.read())
        except HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode(errors="replace")) from error


def _address(path: tuple[str, ...], query: dict[str, Any]) -> str:
    parameters = f"?{urlencode(query)}" if query else ""
    return "/api/v2/" + "/".join(quote(part, safe="") for part in path) + parameters
