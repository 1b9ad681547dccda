"""The same work twice: with plain joblib, called by hand in a task, and with ``@parallel_task``."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
from airflow.sdk import chain, dag, task
from joblib import Parallel, delayed

from airflow_joblib import parallel_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FOLDER = "{{ dag_run.conf['folder'] }}"
log = logging.getLogger("shop.orders")


def by_hand(function: Callable[..., Any], items: Iterable[Any], *shared: Any, **options: Any) -> list[Any]:
    """What one writes without this library, and the one line without which nothing of a DAG file reaches a worker."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return Parallel(n_jobs=2, **options)(delayed(function)(item, *shared) for item in items)  # type: ignore[no-any-return]


def trace(folder: str, name: str, text: object = "") -> None:
    """Leave a file that is there with all it has, or not at all."""
    part = Path(folder, f"{name}.part")
    part.write_text(str(text))
    part.rename(part.with_suffix(""))


def say_where(item: int, folder: str, name: str) -> int:
    """Say which process this is, and its task's."""
    trace(folder, f"{name}-{item}", f"{os.getpid()} {os.getppid()}")
    return item


def wait_for_go(item: int, folder: str, name: str) -> int:
    """Say where, wait until told to go on, and leave the trace that a task which has ended must not leave."""
    say_where(item, folder, name)
    until = time.monotonic() + 400
    while not Path(folder, f"{name}.go").exists() and time.monotonic() < until:
        time.sleep(0.05)
    trace(folder, f"{name}-{item}-ended")
    return item


def ask_variable(item: int, folder: str, name: str) -> str:
    """Ask for what is there; say the answer at once, since the task may never end."""
    from airflow.sdk import Variable

    answer = str(Variable.get("greeting", default="the default"))
    trace(folder, f"{name}-{item}", f"{os.getpid()} {os.getppid()} {answer}")
    return answer


def ask_connection(_: int) -> str | None:
    """Ask a hook's base class for what is there."""
    from airflow.sdk import BaseHook

    return BaseHook.get_connection("plain_secret").host


def speak(item: int) -> int:
    """Log, as any code does."""
    log.info("informed of %d", item)
    log.warning("warned of %d", item)
    return item


def where(item: int, folder: str, patience: float) -> int:
    """Say which process this is, once there is another one or so many seconds are over."""
    trace(folder, f"process-{os.getpid()}")
    until = time.monotonic() + patience
    while len([*Path(folder).glob("process-*")]) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    return os.getpid()


@task
def plain(name: str, folder: str) -> list[Any]:
    """One function's fan-out by hand."""
    function, backend, shared = WORK[name]
    return by_hand(function, range(6), *((folder, f"{name}_plain") if shared else ()), backend=backend)


@task
def plain_started_by(method: str, folder: str) -> list[Any]:
    """A fan-out by hand whose workers multiprocessing starts anew."""
    trace(folder, f"{method}_plain-task", os.getpid())
    multiprocessing.set_start_method(method, force=True)
    return by_hand(say_where, range(6), folder, f"{method}_plain", backend="multiprocessing")


@task
def ours_started_by(method: str, folder: str) -> list[Any]:
    """The same by this library."""
    multiprocessing.set_start_method(method, force=True)
    return parallel_task(n_jobs=2, backend="multiprocessing")(say_where).map(range(6), folder, f"{method}_ours")


#: Function and backend by the fact's word, and whether it takes the folder and a name for its traces.
WORK: dict[str, tuple[Callable[..., Any], str, bool]] = {
    "slot": (wait_for_go, "loky", True),
    "killed": (wait_for_go, "loky", True),
    "terminated": (wait_for_go, "loky", True),
    "forked": (ask_variable, "multiprocessing", True),
    "variable": (ask_variable, "loky", True),
    "connection": (ask_connection, "loky", False),
    "logged": (speak, "loky", False),
}


@dag(schedule=None)
def plain_joblib() -> None:
    """What waits for a word, all at once; the rest one after another, since a start takes a CPU for a while."""
    for name in ("slot", "killed", "terminated", "forked"):
        in_both_ways(name)
    chain(*(way for name in ("logged", "variable", "connection") for way in in_both_ways(name)))


def in_both_ways(name: str) -> tuple[Any, Any]:
    """A task by hand and one by this library."""
    function, backend, shared = WORK[name]
    plainly = plain.override(task_id=f"{name}_plain", trigger_rule="all_done")(name, FOLDER)
    ours = parallel_task(n_jobs=2, backend=backend, task_id=f"{name}_ours", trigger_rule="all_done")(function)
    return plainly, ours(list(range(6)), **({"folder": FOLDER, "name": f"{name}_ours"} if shared else {}))


@dag(schedule=None)
def plain_joblib_started() -> None:
    """By itself: the workers by hand die and are started again for ever, which takes every CPU."""
    for method in ("spawn", "forkserver"):
        plain_started_by.override(task_id=f"{method}_plain")(method, FOLDER)
        ours_started_by.override(task_id=f"{method}_ours")(method, FOLDER)


@task
def plain_where(folder: str) -> list[int]:
    """Which processes a fan-out by hand has."""
    return by_hand(where, range(6), folder, 0.5)


@dag(schedule=None)
def plain_joblib_where() -> None:
    """For another executor: which processes there are."""
    plain_where(FOLDER + "/plain")
    parallel_task(n_jobs=2, task_id="ours_where")(where)(list(range(6)), folder=FOLDER + "/ours", patience=100.0)


plain_joblib()
plain_joblib_where()
plain_joblib_started()
