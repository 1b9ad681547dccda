"""The metadata database out of reach, as it is in a task."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_joblib.taskflow.airflow_names import DATABASE, NO_DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["out_of_reach"]

_ADDRESS = f"{NO_DATABASE}///"
_ENVIRONMENT = {
    DATABASE: _ADDRESS,
    "AIRFLOW__CORE__SQL_ALCHEMY_CONN": _ADDRESS,
    # Airflow's default queries the network for the name of this host.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
}
_SETTINGS = "airflow.settings"
_CONNECTED = ("engine", "async_engine", "Session", "AsyncSession", "NonScopedSession")
_REFUSED = "Database access is disabled in tasks. Use Variable, Connection, XCom or a hook."


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Give the database the address that it has in a task, which nothing can connect to."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, _ENVIRONMENT))
        settings: Any = sys.modules.get(_SETTINGS)
        if settings is not None:
            for name in ("SQL_ALCHEMY_CONN", "SQL_ALCHEMY_CONN_ASYNC"):
                stack.enter_context(patch.object(settings, name, _ADDRESS, create=True))
            for name in (*_CONNECTED, "configure_orm"):
                stack.enter_context(patch.object(settings, name, _Refused(), create=True))
        yield


class _Refused:
    """What stands where Airflow has an engine or a session."""

    def __call__(self, *_: object, **__: object) -> Any:
        raise RuntimeError(_REFUSED)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(_REFUSED)
