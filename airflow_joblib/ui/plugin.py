"""What Airflow's plugin manager is given: the tab, and the place where its bundle is.

Processes of tasks load plugins too, so FastAPI is imported when a browser requests the bundle, and no sooner.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

import airflow_joblib

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Bundle", "JoblibPlugin"]

_FOLDER = Path(__file__).parent / "dist"
_PREFIX = "/airflow-joblib"


class Bundle:
    """An ASGI application that serves the files of ``dist``."""

    def __init__(self) -> None:
        self._files: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._files is None:
            from starlette.staticfiles import StaticFiles

            mimetypes.add_type("application/javascript", ".cjs")  # a browser runs no module of another type
            self._files = StaticFiles(directory=_FOLDER)
        await self._files(scope, receive, send)


def _apps() -> list[dict[str, Any]]:
    return [{"app": Bundle(), "url_prefix": _PREFIX, "name": "airflow-joblib"}]


def _tabs() -> list[dict[str, Any]]:
    # Airflow 3.1 resolves a relative address against its own script, later ones against the page: a path from the
    # root is the same for both. The version is there for browsers that still have the bundle of another one.
    base = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    return [
        {
            "name": "Fan-out",
            "bundle_url": f"{base}{_PREFIX}/main.umd.cjs?v={airflow_joblib.__version__}",
            "destination": "task_instance",
            "url_route": "fan-out",
            "applies_to": {"operator_name": ["@task.parallel", "ParallelOperator"]},  # Airflow 3.4 and later
        }
    ]


_SHOWN = conf.getboolean("joblib", "tab", fallback=True)


class JoblibPlugin(AirflowPlugin):
    """The tab; nothing where ``[joblib] tab`` turns it off."""

    name = "airflow_joblib"
    fastapi_apps = _apps() if _SHOWN else []
    react_apps = _tabs() if _SHOWN else []
