"""Items that ask Airflow for all it has, on every local backend; the task body asks for the same beside them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task

from airflow_joblib import parallel_task

BACKENDS = ("threading", "loky", "multiprocessing")
FOLDER = "{{ dag_run.conf['folder'] }}"
#: All items in one worker, which is a process for the limit's sake: a fresh one that asks imports Airflow.
ONE_WORKER: dict[str, Any] = {"batch_size": 100, "item_timeout": 200}
#: What travels of the context; ``ds`` and its kind are there in runs with a logical date only.
PLAIN = ("run_id", "params", "task_reschedule_count", "inlets")


def answers() -> dict[str, Any]:
    """Everything that a body and a worker must agree on."""
    return {**variables(), **connections(), **context()}


def variables() -> dict[str, Any]:
    """Variables by every way there is."""
    from airflow.sdk import Variable

    context = get_current_context()
    return {
        "variable": Variable.get("greeting", default="a wrong answer"),
        "json": Variable.get("settings", deserialize_json=True),
        "missing": raised(lambda: Variable.get("no such")),
        "default": Variable.get("no such", default="the default"),
        "old way": Variable.get("greeting", default="a wrong answer"),
        "by context": (context["var"]["value"].greeting, context["var"]["json"].get("settings")),
    }


def connections() -> dict[str, Any]:
    """Connections, a hook, a remote path and an XCom."""
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook
    from airflow.sdk import BaseHook, ObjectStoragePath, XComArg  # noqa: F401 - the last shows that importing is fine
    from airflow.sdk.execution_time.xcom import XCom

    run_id = get_current_context()["run_id"]
    ids = {"dag_id": "asks_airflow", "run_id": run_id, "task_id": "upstream"}
    path = ObjectStoragePath(f"file://files@{os.environ['AIRFLOW_HOME']}/airflow.cfg")
    return {
        "connection": BaseHook.get_connection("secret").password,
        "missing connection": raised(lambda: BaseHook.get_connection("no such")),
        "hook": SqliteHook("numbers").get_first("SELECT 6 * 7"),
        "path": (path.exists(), path.fs.exists(path.path)),
        "xcom": XCom.get_one(key="return_value", **ids),
        "no xcom": XCom.get_one(key="no such", **ids),
    }


def context() -> dict[str, Any]:
    """The context and the state store."""
    context = get_current_context()
    found = {name: str(context[name]) for name in PLAIN}
    if "task_state_store" in context:
        context["task_state_store"].set("count", 3)
        found["state"] = context["task_state_store"].get("count")
    return found


def raised(ask: Any) -> str:
    """What asking raises, in words."""
    try:
        return f"no error: {ask()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def meet(folder: str, workers: int) -> None:
    """Wait until so many workers have come here: on a busy machine one does all before another one has started."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, str(os.getpid())).touch()
    until = time.monotonic() + 100
    while len([*Path(folder).iterdir()]) < workers and time.monotonic() < until:
        time.sleep(0.01)


@parallel_task(n_jobs=2)
def ask(number: int, folder: str = "") -> dict[str, Any]:
    """What a worker is told, and which one it is; with a folder, once there are two."""
    if folder:
        meet(folder, 2)
    return {"answers": answers(), "process": os.getpid()}


@task
def body() -> dict[str, Any]:
    """What the task body is told."""
    return {"answers": answers(), "process": os.getpid()}


@task
def upstream() -> list[int]:
    """An XCom to read."""
    return [4, 5, 6]


@parallel_task(n_jobs=2, **ONE_WORKER)
def ask_for_what_stays(name: str) -> str:
    """What asking for something of the task's process raises."""
    return raised(lambda: get_current_context()[name])


@parallel_task(n_jobs=2)
def write(number: int) -> None:
    """Set one Variable, remove another, push an XCom."""
    from airflow.sdk import Variable

    Variable.set(f"written_{number}", str(number * 10))
    Variable.delete(f"old_{number}")


@task
def read_back(_: Any) -> list[Any]:
    """What `write` has left; the task's own line is as good as ever, and so is the relay of a second run."""
    from airflow.sdk import Variable

    before = [Variable.get(f"{name}_{number}", default=None) for name in ("written", "old") for number in (1, 2)]
    inside = ask.override(backend="multiprocessing").map([1, 2])
    inside += ask.override(backend="loky", **ONE_WORKER).map([1, 2])
    return [before, len(inside), Variable.get("greeting")]


@parallel_task(n_jobs=2, **ONE_WORKER)
def by_parameter(number: int, task_state_store: Any = None, run_id: str | None = None) -> Any:
    """The state store as a parameter."""
    task_state_store.set(f"number_{number}", number)
    return [task_state_store.get(f"number_{number}"), run_id]


@parallel_task(n_jobs=2)
def standard_input(number: int) -> list[str]:
    """What descriptor 0 is, and what reading from it gives."""
    return [str(Path("/proc/self/fd/0").readlink()), sys.stdin.read() if sys.stdin else "", os.read(0, 1).decode()]


@parallel_task(n_jobs=2, backend="loky")
def leave_alone(number: int) -> dict[str, Any]:
    """A worker that has no use for Airflow: what it has loaded, and what it was started with."""
    started = "".join(Path(f"/proc/self/{what}").read_text(errors="replace") for what in ("cmdline", "environ"))
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in {"airflow", "pydantic"})
    now = {name: value for name, value in os.environ.items() if "SQL_ALCHEMY" in name}
    return {"loaded": loaded, "started": started.replace("\0", "\n"), "now": now}  # an XCom takes no NUL


@dag(schedule=None, params={"colour": "red"})
def asks_airflow() -> None:
    """One task for each local backend, and those that ask for something special."""
    given = upstream()
    given >> body()
    for backend in BACKENDS:
        folder = "" if backend == "threading" else f"{FOLDER}/{backend}"
        given >> ask.override(backend=backend, task_id=backend)([1, 2], folder)
    for backend in BACKENDS[1:]:
        ask_for_what_stays.override(backend=backend, task_id=f"stays_{backend}")(
            ["ti", "dag", "task", "outlet_events", "no such"]
        )
        standard_input.override(backend=backend, task_id=f"stdin_{backend}")([1, 2])
        by_parameter.override(backend=backend, task_id=f"store_{backend}")([1, 2])
    given >> read_back(write([1, 2]))
    leave_alone([1, 2])


asks_airflow()
