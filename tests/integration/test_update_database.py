"""The database example: concurrent workers on the same rows, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness import AirflowInstance, DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

STOCK = {"apples": 2000, "bread": 1000, "cheese": 500, "dates": 300}
REFUSED = 12  # every fiftieth of 600


@pytest.fixture
def shop_on_postgres(airflow: AirflowInstance, postgres_url: str) -> Iterator[str]:
    """A schema of its own in PostgreSQL, and the Airflow connection ``shop_db`` that leads to it."""
    schema = f"shop_{uuid4().hex[:12]}"
    _on_postgres(postgres_url, f"CREATE SCHEMA {schema}")
    address = urlsplit(postgres_url)
    airflow.api.post("connections", body=_connection(address, schema))
    yield schema
    airflow.api.delete("connections", "shop_db")
    _on_postgres(postgres_url, f"DROP SCHEMA {schema} CASCADE")


def test_sqlite_loses_no_update(airflow: AirflowInstance) -> None:
    """Without a connection the shop is an SQLite file: every order booked once, to the last unit."""
    run = _run(airflow)
    _assert_books_balance(airflow, run)
    assert (airflow.home / "shop.db").exists()


@pytest.mark.server
def test_postgres_loses_no_update(airflow: AirflowInstance, shop_on_postgres: str, postgres_url: str) -> None:
    """With a connection ``shop_db`` the shop is in PostgreSQL, under the same rules."""
    run = _run(airflow)
    _assert_books_balance(airflow, run)
    left = dict(_on_postgres(postgres_url, f"SELECT product, units FROM {shop_on_postgres}.shop_stock"))
    assert left == airflow.xcom(run.dag_id, run.run_id, "check")["left"]


@pytest.mark.server
def test_postgres_connections_are_closed(airflow: AirflowInstance, shop_on_postgres: str, postgres_url: str) -> None:
    """When the run is over, no worker's connection is left at the server."""
    _run(airflow)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'"
    assert shop_on_postgres
    assert _on_postgres(postgres_url, query) == [(0,)]


@pytest.mark.server
def test_url_is_nowhere_to_be_seen(airflow: AirflowInstance, shop_on_postgres: str) -> None:
    """The connection's URL is in no XCom, rendered field or log."""
    run = _run(airflow)
    shown = [airflow.log(run.dag_id, run.run_id, task.task_id) for task in run.tasks]
    shown += [str(airflow.xcom(run.dag_id, run.run_id, task.task_id)) for task in run.tasks]
    path = ("dags", run.dag_id, "dagRuns", run.run_id, "taskInstances", "book")
    shown.append(str(airflow.api.get(*path)["rendered_fields"]))
    assert not [text for text in shown if shop_on_postgres in text or "postgres" in text]


def _run(airflow: AirflowInstance) -> DagRunResult:
    airflow.wait_for_dags("update_database")
    run = airflow.run_dag("update_database")
    assert run.ok, [airflow.log(run.dag_id, run.run_id, task.task_id) for task in run.failed]
    return run


def _assert_books_balance(airflow: AirflowInstance, run: DagRunResult) -> None:
    orders = airflow.xcom(run.dag_id, run.run_id, "collect_orders")
    results = airflow.xcom(run.dag_id, run.run_id, "book")
    checked = airflow.xcom(run.dag_id, run.run_id, "check")
    assert [result["order"] for result in results] == [order["id"] for order in orders]
    assert [result["booked"] for result in results] == [order["units"] < 10_000 for order in orders]
    left = dict(STOCK)
    for order in orders:
        left[order["product"]] -= order["units"] if order["units"] < 10_000 else 0
    assert checked == {"booked": len(orders) - REFUSED, "refused": REFUSED, "left": left}
    assert len({result["worker"] for result in results}) > 1


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
