"""Airflow's simple auth manager, with one DAG whose XComs nobody may read."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from tests.ui.runs import NO_XCOMS


class AuthManager(SimpleAuthManager):
    """Refuses the XComs of `NO_XCOMS`."""

    def is_authorized_dag(self, *, access_entity: Any = None, details: Any = None, **more: Any) -> bool:
        """Return whether a user may do with a DAG what is asked for."""
        if access_entity == DagAccessEntity.XCOM and details is not None and details.id == NO_XCOMS:
            return False
        return bool(super().is_authorized_dag(access_entity=access_entity, details=details, **more))
