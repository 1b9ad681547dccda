"""Requests to a server that is slow and refuses some: in one task, on threads or event loops, and mapped."""

from __future__ import annotations

import resource
from typing import Any

import httpx
from airflow.sdk import Param, dag, get_current_context, task

from airflow_joblib import RetryItem, parallel_task

PARAMS = {
    "count": Param(1, type="integer"),
    "way": Param("asynchronous", type="string"),
    "workers": Param(1, type="integer"),
    "url": Param("", type="string"),
}
OPTIONS: dict[str, Any] = {"rate_limit": 380, "item_retries": 10}


def status(response: httpx.Response) -> int:
    """The status, if it is a good one."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RetryItem("too many requests", after=float(response.headers["Retry-After"]))
    return response.raise_for_status().status_code


def cpu() -> float:
    """Seconds that this process, and those of its own that have ended, have used."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@parallel_task(backend="threading", per_worker={"client": lambda: httpx.Client(trust_env=False)}, **OPTIONS)
def on_threads(number: int, url: str, client: httpx.Client) -> int:
    return status(client.get(f"{url}/{number}"))


@parallel_task(concurrency=64, per_worker={"client": lambda: httpx.AsyncClient(trust_env=False)}, **OPTIONS)
async def asynchronous(number: int, url: str, client: httpx.AsyncClient) -> int:
    return status(await client.get(f"{url}/{number}"))


@dag(schedule=None, params=PARAMS)
def bench_requests() -> None:
    @task
    def items() -> dict[str, float]:
        params = get_current_context()["params"]
        way = {"threads": on_threads, "asynchronous": asynchronous}[params["way"]]
        found = way.override(n_jobs=params["workers"]).map(range(params["count"]), url=params["url"])
        assert found == [200] * params["count"]
        return {"CPU": cpu()}

    items()


@dag(schedule=None, params=PARAMS)
def bench_requests_expand() -> None:
    @task
    def numbers() -> list[int]:
        return list(range(get_current_context()["params"]["count"]))

    @task
    def request(number: int) -> float:
        url = get_current_context()["params"]["url"]
        status(httpx.get(f"{url}/{number}", trust_env=False))
        return cpu()

    @task
    def items(used: list[float]) -> dict[str, float]:
        return {"CPU": sum(used)}

    items(request.expand(number=numbers()))


bench_requests()
bench_requests_expand()
