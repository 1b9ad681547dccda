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
    """Everything that a body must be told, and a worker too where the engine has a channel to the task."""
    from airflow.sdk import BaseHook, Variable, get_current_context
    from airflow.sdk.execution_time.xcom import XCom

    context = get_current_context()
    ids = {"dag_id": f"on_{ENGINE}", "run_id": context["run_id"], "task_id": "upstream"}
    return {
        "variable": told(lambda: Variable.get(f"{ENGINE}_greeting", default="a wrong answer")),
        "of the task's environment": told(lambda: Variable.get("of_environment", default="a wrong answer")),
        "missing": told(lambda: Variable.get("no such")),
        "connection": told(lambda: BaseHook.get_connection(f"{ENGINE}_secret").password),
        "missing connection": told(lambda: BaseHook.get_connection("no such").password),
        "xcom": told(lambda: XCom.get_one(key="return_value", **ids)),
        "context": {name: str(context[name]) for name in ("run_id", "params", "task_reschedule_count")},
        "by context": told(lambda: getattr(context["var"]["value"], f"{ENGINE}_greeting")),
    }


def told(ask: Any) -> Any:
    """The answer, or in words what asking raises."""
    try:
        return ask()
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
    from airflow.sdk import Variable, get_current_context

    return {
        "written": told(lambda: Variable.set(f"{ENGINE}_written_{number}", str(number * 10))),
        "answers": answers(),
        "too large": told(lambda: Variable.set(f"{ENGINE}_large", "x" * (64 << 20))) if number == 0 else None,
        "stays": told(lambda: str(get_current_context()["ti"])),
        "run_id": run_id,
        "process": process,
    }


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
    """Log through structlog, under names of three levels; say a new secret, and one that the item asks for."""
    import structlog
    from airflow.sdk import Variable

    structlog.get_logger("shop.structured").info("bound", number=number)
    structlog.get_logger("shop.loud.inner").debug("loud", number=number)
    structlog.get_logger("shop.structured").debug("not at this level")
    structlog.get_logger("shop.silent").error("not of this logger")
    say_new_secret()
    print("read", Variable.get(f"{ENGINE}_password"))


def say_new_secret() -> None:
    """Say a secret that the task has never seen."""
    from airflow.sdk.log import mask_secret

    secret = "first-seen-" + "on-a-cluster" * 2
    mask_secret(secret)
    log.info("found %s", secret)


@parallel_task(batch_size=1)
def speak_secret(number: int, password: str) -> None:
    """Say a new secret, and one that the task has read for the items, where they can't ask."""
    say_new_secret()
    print("read", password)


@task(task_id="speak_secret")
def pass_secret(there: dict[str, Any]) -> None:
    """Ask in the body, and pass the value as a shared argument."""
    from airflow.sdk import BaseHook

    password = BaseHook.get_connection(f"{ENGINE}_secret").password
    speak_secret.override(**there)([1, 2], password=password)


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
    said = speak.override(**there)(list(range(6)))  # first, while no item has had Airflow imported
    flooded = flood.override(**there)([1, 2], lines=20_000)
    given >> body()
    given >> ask.override(**there)(range(8)) >> ask.override(task_id="local", backend=ENGINE, n_jobs=2)(range(4))
    if ENGINE == "spark":  # one after another, as each takes all that the cluster has
        said >> pass_secret(there) >> flooded >> given
    else:
        said >> speak_structlog.override(**there)([1, 2]) >> flooded
        said >> given


on_cluster()
