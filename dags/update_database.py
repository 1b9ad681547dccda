"""Update a database: six hundred orders booked by parallel workers, each over a connection of its own, and priced.

Shows ``per_worker``: `connect` is entered once in every worker; its connection serves all items there, and is closed
when the run ends. And ``over``: each item of `update_record` is a pair, which two of its parameters take. The way to
the database is asked for in the task, once. Many orders hit the same few products, so two workers often want the same
row; the last task fails if one update was lost, or an order was booked twice.

SQLite in AIRFLOW_HOME out of the box; PostgreSQL when Airflow has a connection with the id ``shop_db``.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowNotFoundException
from airflow.sdk import Connection, dag, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTION_ID = "shop_db"
STOCK = {"apples": 2000, "bread": 1000, "cheese": 500, "dates": 300}
PRICES = {"apples": 25, "bread": 310, "cheese": 480, "dates": 95}
DEMAND = ("apples", "bread", "apples", "cheese", "apples", "bread", "dates")
ORDERS = 600


class SoldOutError(Exception):
    """There aren't as many units as were ordered."""


def database_url() -> str:
    """Where the shop's tables are; holds the password, so it is asked for inside a task, and is no task's argument."""
    try:
        return str(Connection.get(CONNECTION_ID).get_uri())
    except AirflowNotFoundException:
        return f"sqlite:///{Path(os.environ.get('AIRFLOW_HOME', '~/airflow')).expanduser()}/shop.db"


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """Open a connection, and close it in the end."""
    if url.startswith("postgres"):
        import psycopg2  # only where it is needed

        connection = psycopg2.connect(url)
    else:
        # IMMEDIATE takes the write lock when a transaction starts: a second writer waits its turn, up to the timeout,
        # where it would otherwise find out at its first write that what it has read is out of date.
        path = url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=60, isolation_level="IMMEDIATE")
    with closing(connection):
        yield connection


def execute(connection: Any, statement: str, *values: Any) -> Any:
    """Run a statement with SQLite's placeholders on either database; its cursor."""
    cursor = connection.cursor()
    cursor.execute(statement if isinstance(connection, sqlite3.Connection) else statement.replace("?", "%s"), values)
    return cursor


def add_booking(connection: Any, order: dict[str, Any]) -> bool:
    """Write the booking; False if it is there already, from a try before a retry or a lost worker."""
    statement = "INSERT INTO shop_booking VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return bool(execute(connection, statement, order["id"], order["product"], order["units"]).rowcount)


def take_stock(connection: Any, order: dict[str, Any]) -> None:
    """Take the units from the shelf: looked at and taken by one statement, so nobody can come in between."""
    statement = "UPDATE shop_stock SET units = units - ? WHERE product = ? AND units >= ?"
    if not execute(connection, statement, order["units"], order["product"], order["units"]).rowcount:
        raise SoldOutError


@task
def stock_up() -> None:
    """Empty the tables and fill the shelves."""
    with connect(database_url()) as connection:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA journal_mode=WAL")  # readers don't wait for the writer
        with connection:
            execute(connection, "CREATE TABLE IF NOT EXISTS shop_stock (product TEXT PRIMARY KEY, units INTEGER)")
            execute(
                connection,
                "CREATE TABLE IF NOT EXISTS shop_booking (order_id INTEGER PRIMARY KEY, product TEXT, units INTEGER)",
            )
            execute(connection, "CREATE TABLE IF NOT EXISTS shop_invoice (order_id INTEGER PRIMARY KEY, cents INTEGER)")
            execute(connection, "DELETE FROM shop_booking")
            execute(connection, "DELETE FROM shop_invoice")
            execute(connection, "DELETE FROM shop_stock")
            for product, units in STOCK.items():
                execute(connection, "INSERT INTO shop_stock VALUES (?, ?)", product, units)


@task
def collect_orders() -> list[dict[str, Any]]:
    """Orders as they came in; every fiftieth wants more than there ever was."""
    return [
        {"id": n, "product": DEMAND[n % len(DEMAND)], "units": 10_000 if n % 50 == 0 else 1 + n % 5}
        for n in range(1, ORDERS + 1)
    ]


@parallel_task(per_worker={"connection": connect})
def book(order: dict[str, Any], url: str, connection: Any) -> dict[str, Any]:  # noqa: ARG001 - `connect` takes it
    """Book one order in one transaction, over the worker's own connection."""
    try:
        with connection:  # commits, or rolls back when an exception leaves
            if add_booking(connection, order):
                take_stock(connection, order)
    except SoldOutError:
        return {"order": order["id"], "booked": False, "worker": os.getpid()}
    return {"order": order["id"], "booked": True, "worker": os.getpid()}


@task(task_id="book")
def book_all(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Book all orders in parallel; workers get the URL from here, so that none of them has to ask Airflow."""
    return book.map(orders, url=database_url())


@parallel_task(over=("record_id", "value"), per_worker={"conn": connect})
def update_record(record_id: int, value: int, conn: Any, url: str) -> int:  # noqa: ARG001 - `connect` takes it
    """Set what one order costs. To do it again changes nothing."""
    statement = "INSERT INTO shop_invoice VALUES (?, ?) ON CONFLICT (order_id) DO UPDATE SET cents = excluded.cents"
    with conn:
        execute(conn, statement, record_id, value)
    return value


@task(task_id="update_record")
def update_records(orders: list[dict[str, Any]], results: list[dict[str, Any]]) -> int:
    """Set what each booked order costs, in parallel: the items are pairs of an order's id and its price."""
    booked = [order for order, result in zip(orders, results, strict=True) if result["booked"]]
    pairs = [(order["id"], order["units"] * PRICES[order["product"]]) for order in booked]
    return sum(update_record.map(pairs, url=database_url()))


@task
def check(orders: list[dict[str, Any]], results: list[dict[str, Any]], cents: int) -> dict[str, Any]:
    """Compare what is in the database with what the workers said, to the last unit and cent."""
    with connect(database_url()) as connection, connection:
        invoices = dict(execute(connection, "SELECT order_id, cents FROM shop_invoice").fetchall())
        left = dict(execute(connection, "SELECT product, units FROM shop_stock").fetchall())
        booked = dict(execute(connection, "SELECT order_id, units FROM shop_booking").fetchall())
    expected = dict(STOCK)
    for order, result in zip(orders, results, strict=True):
        if result["booked"] != (order["id"] in booked):
            message = f"Order {order['id']}: the worker and the database disagree."
            raise ValueError(message)
        expected[order["product"]] -= order["units"] if result["booked"] else 0
    if left != expected:
        message = f"Updates were lost: {left} are left where {expected} should be."
        raise ValueError(message)
    if invoices.keys() != booked.keys() or sum(invoices.values()) != cents:
        message = f"The invoices come to {sum(invoices.values())} cents where the workers set {cents}."
        raise ValueError(message)
    return {"booked": len(booked), "refused": len(orders) - len(booked), "left": left, "cents": cents}


@dag(schedule=None, max_active_runs=1, tags=["airflow-joblib", "example"], doc_md=__doc__)
def update_database() -> None:
    """Fill the shelves, book in parallel, set prices in parallel, check the books."""
    orders = collect_orders()
    results = book_all(orders)
    stock_up() >> results
    check(orders, results, update_records(orders, results))


update_database()
