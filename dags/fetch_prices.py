"""Fetch prices: three hundred requests to an HTTP API, of which twenty at a time wait in each worker.

Shows a function that is ``async def``: its items share the event loop of their worker, and the client that
``per_worker`` opens there. The API takes so many requests a second and refuses the rest (``rate_limit``,
``RetryItem``), fails at times (``item_retries``), and doesn't know every product (``FailItem``, ``max_failures``).

The API is served by the task itself, on a port of this machine that is free: `data/price_api.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from airflow.sdk import dag, task

from airflow_joblib import FailItem, RetryItem, parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).parent / "data" / "price_api.py"
#: Environment variable with the API's address. An argument would be part of what a checkpoint goes by, and the next try
#: of the task, whose server has another port, would find none of the prices that this one has fetched.
ADDRESS = "PRICE_API"
COLOURS = str.split("black blue brown green grey orange pink red white yellow")
THINGS = str.split("""
    apron basket bottle bowl bucket candle clock cup curtain fork glass jar kettle knife ladle lamp lid mat mirror mug
    napkin pan plate pot rug spoon stool teapot tray vase""")


@contextmanager
def price_api() -> Iterator[str]:
    """Run the API's server, and end it in the end; gives its address."""
    command = [sys.executable, str(SERVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            assert server.stdout is not None  # noqa: S101 - it is a pipe
            os.environ[ADDRESS] = server.stdout.readline().strip()
            yield os.environ[ADDRESS]
        finally:
            server.terminate()


def open_client() -> httpx.AsyncClient:
    """Make a worker's client, which is an asynchronous context manager; its items share the connections."""
    return httpx.AsyncClient(base_url=os.environ[ADDRESS], timeout=30, trust_env=False)  # no proxy: it is this machine


@task
def list_products() -> list[dict[str, Any]]:
    """All products; the API has no price of some."""
    names = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    return [{"id": number, "name": name} for number, name in enumerate(names, 1)]


@parallel_task(
    per_worker={"client": open_client},
    concurrency=20,
    rate_limit="100/s",
    item_retries=3,
    item_retry_delay=0.2,
    item_retry_on=(httpx.HTTPStatusError, httpx.TransportError),
    max_failures=0.05,
    checkpoint=True,
    label=itemgetter("name"),
)
async def fetch_price(product: dict[str, Any], client: httpx.AsyncClient) -> dict[str, Any]:
    """Fetch the price of one product."""
    response = await client.get(f"/prices/{product['id']}")
    if response.status_code == httpx.codes.NOT_FOUND:
        raise FailItem("The API has no price of it.")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RetryItem("The API asks for patience.", after=float(response.headers["Retry-After"]))
    response.raise_for_status()
    return {"name": product["name"], **response.json()}


@task(task_id="fetch_price")
def fetch_all(products: list[dict[str, Any]]) -> dict[str, Any]:
    """Fetch all prices; with them goes what the server has counted."""
    with price_api() as address:
        prices = fetch_price.map(products)
        return {"prices": prices, "server": httpx.get(f"{address}/report", trust_env=False).json()}


@task
def check(products: list[dict[str, Any]], fetched: dict[str, Any], ti: Any = None) -> dict[str, Any]:
    """Compare what was fetched with what was asked for: each product has its own price, or is among the failures."""
    failures = ti.xcom_pull(task_ids="fetch_price", key="failures")
    failed = {failure["index"]: failure["item"] for failure in failures}
    for index, (product, price) in enumerate(zip(products, fetched["prices"], strict=True)):
        if (price is None) != (index in failed) or (price is not None and price["id"] != product["id"]):
            message = f"{product['name']} has the price {price}."
            raise ValueError(message)
    found = [price["cents"] for price in fetched["prices"] if price is not None]
    return {"prices": len(found), "cents": sum(found), "without": list(failed.values()), **fetched["server"]}


@dag(schedule=None, tags=["airflow-joblib", "example"], doc_md=__doc__)
def fetch_prices() -> None:
    """List, fetch side by side, check."""
    products = list_products()
    check(products, fetch_all(products))


fetch_prices()
