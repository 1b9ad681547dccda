"""Items on a cluster that ask Airflow, and say something in every way there is; the body does the same beside.

The file's name, as it is copied, says on which engine.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = Path(__file__).stem.removeprefix("on_")
log = logging.getLogger("shop.orders")


def answers() -> dict[str, Any]:
    """Everything that a body and a worker must agree on."""
    from airflow.sdk import BaseHook, Variable, get_current_context
    from airflow.sdk.execution_time.xcom import XCom

    context = get_current_context()
    ids = {"dag_id": f"on_{ENGINE}", "run_id": context["run_id"], "task_id": "upstream"}
    return {
        "variable": Variable.get(f"{ENGINE}_greeting", default="a wrong answer"),
        "of the task's environment": Variable.get("of_environment", default="a wrong answer"),
        "missing": raised(lambda: Variable.get("no such")),
        "connection": BaseHook.get_connection(f"{ENGINE}_secret").password,
        "missing connection": raised(lambda: BaseHook.get_connection("no such")),
        "xcom": XCom.get_one(key="return_value", **ids),
        "context": {name: str(context[name]) for name in ("run_id", "params", "task_reschedule_count")},
        "by context": getattr(context["var"]["value"], f"{ENGINE}_greeting"),
    }


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
def ask(number: int, process: int) -> dict[str, Any]:
    """What a worker is told, and which one it is."""
    from airflow.sdk import Variable, get_current_context

    Variable.set(f"{ENGINE}_written_{number}", str(number * 10))
    stays = raised(lambda: get_current_context()["ti"])
    return {"answers": answers(), "process": process, "stays": stays}


@parallel_task(batch_size=3)
def speak(number: int) -> bool:
    """Log, print and warn; tell whether Airflow is loaded."""
    log.info("first of %d", number, extra={"shop": "north"})
    print("printed", number)
    print("complained", number, file=sys.stderr)
    log.debug("not at this level")
    logging.getLogger("shop.loud.stdlib").debug("at this level %d", number)
    log.error("100% wrong")
    warnings.warn(f"beware {number}", UserWarning, stacklevel=1)
    try:
        _ = 1 // (number - number)
    except ZeroDivisionError:
        log.exception("caught")
    return "airflow" in sys.modules


@parallel_task(batch_size=1)
def speak_structlog(number: int) -> None:
    """Log through structlog, under names of three levels, and a secret that the task has never seen."""
    import structlog
    from airflow.sdk import Variable
    from airflow.sdk.log import mask_secret

    structlog.get_logger("shop.structured").info("bound", number=number)
    structlog.get_logger("shop.loud.inner").debug("loud", number=number)
    structlog.get_logger("shop.structured").debug("not at this level")
    structlog.get_logger("shop.silent").error("not of this logger")
    secret = "first-seen-" + "on-a-cluster" * 2
    mask_secret(secret)
    log.info("found %s", secret)
    print("read", Variable.get(f"{ENGINE}_password"))


@parallel_task(batch_size=1)
def flood(number: int, lines: int) -> int:
    """Say more than a chunk may hold."""
    for line in range(lines):
        log.info("%s %d of %d", "x" * 100, line, number)
    return lines


@task
def body() -> dict[str, Any]:
    """What the task's body is told."""
    return answers()


@task
def upstream() -> list[int]:
    """An XCom to read."""
    return [4, 5, 6]


@dag(dag_id=f"on_{ENGINE}", schedule=None, params={"colour": "red"})
def on_cluster() -> None:
    """All on the cluster that the connection names."""
    there: Any = {"backend": ENGINE, "backend_options": {"conn_id": f"{ENGINE}_there"}}
    given = upstream()
    given >> body()
    given >> ask.override(**there)(range(8)) >> ask.override(task_id="local", backend=ENGINE, n_jobs=2)(range(4))
    # First, while no item has had Airflow imported.
    said = speak.override(**there)(list(range(6)))
    said >> speak_structlog.override(**there)([1, 2]) >> flood.override(**there)([1, 2], lines=20_000)
    said >> given


on_cluster()
