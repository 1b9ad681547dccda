"""What asks_airflow leaves out: dates, the whole context, what items push and store; and processes that die asking."""

from __future__ import annotations

import os
import signal
from typing import Any

from airflow.sdk import Asset, dag, get_current_context, task

from airflow_joblib import parallel_task

BACKENDS = ("loky", "multiprocessing")
SHELF = Asset("shelf")
#: All items in one worker, which is a process for the limit's sake: a fresh one that asks imports Airflow.
ONE_WORKER: dict[str, Any] = {"batch_size": 100, "item_timeout": 200}


def answers(ds: str | None, logical_date: Any) -> dict[str, Any]:
    """Dates as parameters and in the context, the context's names, and the state store of an asset."""
    context = get_current_context()
    found = {
        "parameters": [ds, str(logical_date)],
        "context": [str(context[name]) for name in ("ds", "ts_nodash", "logical_date", "data_interval_end")],
        "no such": raised(lambda: context["no such"]),
        "names": sorted(context),
    }
    if "asset_state_store" in context:
        shelf = context["asset_state_store"][SHELF]
        shelf.set("count", 3)
        found["shelf"] = [shelf.get("count"), shelf.get("no such", "the default")]
        found["other asset"] = raised(lambda: context["asset_state_store"][Asset("other")])
    return found


def raised(ask: Any) -> str:
    """The type of what asking raises."""
    try:
        return f"no error: {ask()!r}"
    except Exception as error:
        return type(error).__name__


@task(inlets=[SHELF])
def body(ds: str | None = None, logical_date: Any = None) -> dict[str, Any]:
    """What the task's body is told."""
    return answers(ds, logical_date)


@parallel_task(n_jobs=2, inlets=[SHELF], **ONE_WORKER)
def ask(number: int, ds: str | None = None, logical_date: Any = None) -> dict[str, Any]:
    """What a worker is told."""
    return answers(ds, logical_date)


@parallel_task(n_jobs=2, **ONE_WORKER)
def push(number: int, task_id: str, run_id: str | None = None) -> Any:
    """Push an XCom of one's own, and read it."""
    from airflow.sdk.execution_time.xcom import XCom

    ids = {"dag_id": "asks_more", "task_id": task_id, "run_id": run_id, "key": f"pushed_{number}"}
    XCom.set(value={"number": [number]}, **ids)
    return XCom.get_one(**ids)


@parallel_task(n_jobs=2, batch_size=1)
def ask_while_others_die(number: int) -> bool:
    """Ask for Variables, with processes beside that are killed at every point of a request of their own."""
    from airflow.sdk import Variable

    for n in range(6):
        if (child := os.fork()) == 0:
            die_asking(n)
        if Variable.get(f"asked_{(number + n) % 4}", default="a wrong answer") != f"answer {(number + n) % 4}":
            return False
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            return False
    return True


def die_asking(point: int) -> None:
    """Send nothing, a part of a request, or all of it, and be killed before the answer is read."""
    try:
        from airflow.sdk.execution_time.comms import GetVariable
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        request = SUPERVISOR_COMMS._frame(1, GetVariable(key="asked_0").model_dump()).as_bytes()
        SUPERVISOR_COMMS._renew()  # as a request does in a fork
        SUPERVISOR_COMMS._line().sendall(request[: len(request) * point // 5])
        os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)


@dag(schedule=None)
def asks_more() -> None:
    """One task for each, and for each backend of processes."""
    body()
    for backend in BACKENDS:
        ask.override(backend=backend, task_id=f"ask_{backend}")([1, 2])
        push.override(backend=backend, task_id=f"push_{backend}")([1, 2], task_id=f"push_{backend}")
        ask_while_others_die.override(backend=backend, task_id=f"die_{backend}")(list(range(8)))


asks_more()
