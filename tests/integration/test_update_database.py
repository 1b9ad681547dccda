"""The database example on PostgreSQL: concurrent workers on the same rows."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest

from tests.integration.helpers import check_books

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def shop_on_postgres(airflow: AirflowInstance, postgres_url: str) -> Iterator[str]:
    """A schema of its own in PostgreSQL, and the Airflow connection ``shop_db`` that leads to it."""
    schema = f"shop_{uuid4().hex[:12]}"
    _on_postgres(postgres_url, f"CREATE SCHEMA {schema}")
    address = urlsplit(postgres_url)
    airflow.api.set_connection(**_connection(address, schema))
    yield schema
    airflow.api.delete("connections", "shop_db")
    _on_postgres(postgres_url, f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance, shop_on_postgres: str) -> DagRunResult:
    """One run of the example, which has a connection ``shop_db``."""
    assert shop_on_postgres
    airflow.wait_for_dags("update_database")
    return airflow.run_dag("update_database")


def test_loses_no_update(airflow: AirflowInstance, run: DagRunResult, shop_on_postgres: str, postgres_url: str) -> None:
    """With a connection ``shop_db`` the shop is in PostgreSQL, under the same rules as in an SQLite file."""
    check_books(airflow, run)
    left = dict(_on_postgres(postgres_url, f"SELECT product, units FROM {shop_on_postgres}.shop_stock"))
    assert left == airflow.xcom(run.dag_id, run.run_id, "check")["left"]


def test_connections_are_closed(run: DagRunResult, postgres_url: str) -> None:
    """When the run is over, no worker's connection is left at the server."""
    assert run.ok
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'"
    assert _on_postgres(postgres_url, query) == [(0,)]


def test_url_is_nowhere_to_be_seen(airflow: AirflowInstance, run: DagRunResult, shop_on_postgres: str) -> None:
    """The connection's URL is in no XCom, rendered field or log."""
    shown = [airflow.log(run.dag_id, run.run_id, task.task_id) for task in run.tasks]
    shown += [str(airflow.xcom(run.dag_id, run.run_id, task.task_id)) for task in run.tasks]
    path = ("dags", run.dag_id, "dagRuns", run.run_id, "taskInstances", "book")
    shown.append(str(airflow.api.get(*path)["rendered_fields"]))
    assert not [text for text in shown if shop_on_postgres in text or "postgres" in text]


def _connection(address: Any, schema: str) -> dict[str, Any]:
    return {
        "connection_id": "shop_db",
        "conn_type": "postgres",
        "host": address.hostname,
        "login": address.username and unquote(address.username),
        "password": address.password and unquote(address.password),
        "port": address.port,
        "schema": address.path.lstrip("/"),
        "extra": json.dumps({"application_name": "shop", "options": f"-csearch_path={schema}"}),
    }


def _on_postgres(url: str, statement: str) -> list[tuple[Any, ...]]:
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []
