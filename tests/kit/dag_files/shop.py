"""The DAG file of a shop."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import Connection, Variable, dag, get_current_context, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("shop.prices")


@task
def list_products() -> list[str]:
    return ["apples", "bread"]


@parallel_task(n_jobs=2)
def price(name: str, currency: str | None = None) -> str:
    log.info("price of %s", name)
    return f"{name} in {currency or Variable.get('currency')}"


@parallel_task(n_jobs=2)
def asked(kind: str) -> str:
    """Ask for what a test may not have given."""
    calls = {
        "variable": lambda: Variable.get("missing"),
        "default": lambda: Variable.get("missing", default="the default"),
        "connection": lambda: Connection.get("missing"),
    }
    try:
        return str(calls[kind]())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@parallel_task(n_jobs=2)
def host(conn_id: str) -> list[object]:
    found = Connection.get(conn_id)
    return [found.conn_type, found.host, found.login, found.password, found.port, found.extra_dejson]


@parallel_task(n_jobs=2)
def in_context(name: str, run_id: str, ds: str, params: dict[str, int]) -> list[object]:
    current = get_current_context()
    return [name, run_id, ds, dict(params), current.get("run_id"), current.get("try_number")]


@parallel_task(n_jobs=2)
def login(user: str) -> str:
    log.warning("%s logs in with %s", user, Variable.get("shop_password"))
    print("printed", Variable.get("shop_password"))
    return user


@parallel_task(n_jobs=2, max_failures=1)
def tolerant(number: int) -> int:
    if number == 1:
        raise ValueError("sold out")
    return number


@parallel_task(n_jobs=2, checkpoint=True)
def kept(number: int, folder: str) -> int:
    (Path(folder) / f"{number}-{random.random()}").touch()
    if number == 2 and len(list(Path(folder).glob("2-*"))) == 1:
        raise ValueError("the first time")
    return number


@contextlib.contextmanager
def connection() -> Iterator[dict[str, int]]:
    yield {"pid": os.getpid()}


@parallel_task(n_jobs=2, per_worker={"database": connection})
def with_resource(number: int, database: dict[str, int]) -> bool:
    return database["pid"] == os.getpid()


@task
def count(prices: list[str], when: str) -> str:
    return f"{len(prices)} on {when}"


@task
def stored() -> str:
    Variable.set("last", "written")
    Variable.delete("currency")
    return Variable.get("last")


@dag(schedule=None, params={"limit": 3})
def products() -> None:
    found = price(list_products(), currency="{{ params.currency }}")
    count(found, when="{{ ds }}")  # pyright: ignore[reportArgumentType] - so Airflow types its @task
    price.override(task_id="mapped").partial(currency="EUR").expand(name=[["tea"], ["milk", "rice"]])
    tolerant([0, 1, 2])
    stored()


DAG = products()
