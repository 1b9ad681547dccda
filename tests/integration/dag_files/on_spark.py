"""Items on a Spark cluster, which has no way to ask Airflow: what they get, and what they say."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("shop.orders")


def raised(ask: Any) -> str:
    """What asking raises, in words."""
    try:
        return f"no error: {ask()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@contextmanager
def resource() -> Iterator[int]:
    """Say something when the run is over."""
    yield os.getpid()
    log.info("left in %d", os.getpid())


@parallel_task(batch_size=1, per_worker={"process": resource})
def ask(number: int, process: int, run_id: str | None = None) -> dict[str, Any]:
    """What a worker is told, and which one it is."""
    from airflow.sdk import BaseHook, Variable, get_current_context
    from airflow.sdk.execution_time.xcom import XCom

    context = get_current_context()
    ids = {"dag_id": "on_spark", "run_id": context["run_id"], "task_id": "upstream"}
    return {
        "variable": raised(lambda: Variable.get("spark_greeting", default="a wrong answer")),
        "connection": raised(lambda: BaseHook.get_connection("spark_secret")),
        "xcom": raised(lambda: XCom.get_one(key="return_value", **ids)),
        "written": raised(lambda: Variable.set("spark_written", "never")),
        "by context": raised(lambda: context["var"]["value"].spark_greeting),
        "context": {name: str(context[name]) for name in ("run_id", "params", "task_reschedule_count")},
        "run_id": run_id,
        "process": process,
    }


@task
def body() -> dict[str, str]:
    """The same context where it comes from."""
    from airflow.sdk import get_current_context

    context = get_current_context()
    return {name: str(context[name]) for name in ("run_id", "params", "task_reschedule_count")}


@parallel_task(batch_size=3)
def speak(number: int) -> bool:
    """Log, print and warn; tell whether Airflow is loaded."""
    log.info("first of %d", number, extra={"shop": "north"})
    print("printed", number)
    print("complained", number, file=sys.stderr)
    log.debug("not at this level")
    log.error("100% wrong")
    warnings.warn(f"beware {number}", UserWarning, stacklevel=1)
    return "airflow" in sys.modules


@parallel_task(batch_size=1)
def speak_secret(number: int, password: str) -> None:
    """Say a secret that the task has never seen, and one that it has read for the items."""
    from airflow.sdk.log import mask_secret

    secret = "first-seen-" + "on-a-cluster" * 2
    mask_secret(secret)
    log.info("found %s", secret)
    print("read", password)


@task(task_id="speak_secret")
def pass_secret(there: dict[str, Any]) -> None:
    """Ask in the body, and pass the value as a shared argument."""
    from airflow.sdk import BaseHook

    password = BaseHook.get_connection("spark_secret").password
    speak_secret.override(**there)([1, 2], password=password)


@parallel_task(batch_size=1)
def flood(number: int, lines: int) -> int:
    """Say more than a chunk may hold."""
    for line in range(lines):
        log.info("%s %d of %d", "x" * 100, line, number)
    return lines


@task
def upstream() -> list[int]:
    """An XCom to read."""
    return [4, 5, 6]


@dag(schedule=None, params={"colour": "red"})
def on_spark() -> None:
    """All on the cluster that the connection names."""
    there: Any = {"backend": "spark", "backend_options": {"conn_id": "spark_master"}}
    said = speak.override(**there)(list(range(6)))
    given = upstream()
    # One after another, as each takes all that the cluster has.
    said >> pass_secret(there) >> flood.override(**there)([1, 2], lines=20_000) >> given >> body()
    asked = ask.override(**there)(range(8))
    given >> asked >> ask.override(task_id="local", backend="spark", n_jobs=2)(range(4))


on_spark()
