"""What makes a worker process fit for Airflow. Run in every worker before its first item; imports no Airflow itself.

A worker imports Airflow only if its items do, and then finds what a task finds: a supervisor, which here is reached by
way of the task's process, and the task's context. Both are put in place when the modules they belong to are imported.

A task process keeps what it starts from Airflow's database with an address under which Airflow can't even be imported;
here the address becomes that of an empty database in memory.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.inherited import inherited_state
from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_names import CONTEXT, DATABASE, LOOK_FOR_RUNNER, NO_DATABASE, TASK_RUNNER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Prepare",
    "Steps",
    "allow_import",
    "let_go_of_stdin",
    "promise_runner",
]


@dataclass(frozen=True)
class Steps:
    """What a worker runs first, one after another. Equal to its copy, as long as its parts are."""

    steps: tuple[Callable[[], None], ...]

    def __call__(self) -> None:
        """Run them."""
        for step in self.steps:
            step()


@dataclass(frozen=True)
class Prepare:
    """Gives a worker process the supervisor and the context of its task, now or as soon as Airflow is imported.

    Attributes:
        address: Where the task's process listens.
        key: What to show there.
        context: The task's context, each value pickled by itself; None where there is none.
        task: Process id of the task, which has all this already.
    """

    address: str
    key: bytes = field(repr=False)
    context: Mapping[str, bytes] | None = field(repr=False)
    task: int = field(default_factory=os.getpid)

    def __call__(self) -> None:
        """Prepare this process."""
        if os.getpid() == self.task:  # a backend that runs "workers" in the task's own process
            return
        if inherited_state() is not None:  # a fork of the task, which has Airflow and the context already
            when_imported(TASK_RUNNER, self._set_supervisor)
            if not _complete_context():  # of a fork from before the task had one
                when_imported(CONTEXT, self._set_context)
            return
        let_go_of_stdin()
        allow_import()
        when_imported(TASK_RUNNER, self._set_supervisor)
        when_imported(CONTEXT, self._set_context)
        for name in LOOK_FOR_RUNNER:
            when_imported(name, promise_runner)

    def _set_supervisor(self) -> None:
        from airflow_joblib.taskflow.relay.supervisor_proxy import StandIn

        inherited = airflow_internals.supervisor()
        airflow_internals.set_supervisor(StandIn(self.address, self.key, inherited))

    def _set_context(self) -> None:
        from airflow_joblib.taskflow.relay.worker_context import WorkerContext

        airflow_internals.set_context([] if self.context is None else [WorkerContext(self.context)])


def _complete_context() -> bool:
    """Add to the task's own context what that of any other worker has beside it; return whether there is one."""
    from airflow_joblib.taskflow.relay.worker_context import task_context

    context: Any = task_context()
    if context is not None and "ti" in context:
        context.setdefault("try_number", context["ti"].try_number)
        context.setdefault("map_index", context["ti"].map_index)
    return context is not None


def allow_import() -> bool:
    """Put an empty database in memory in the place of an address under which Airflow can't be imported.

    Return whether there was such a one: only a task's process hands it on.
    """
    found = os.environ.get(DATABASE, "").startswith(NO_DATABASE)
    if found:
        os.environ[DATABASE] = "sqlite://"
    return found


def let_go_of_stdin() -> None:
    """Put nothing in the place of descriptor 0, by which a task talks to its supervisor, and which workers inherit."""
    with suppress(OSError):  # there is none
        if stat.S_ISSOCK(os.fstat(0).st_mode):
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)


def promise_runner() -> None:
    """Make the task runner's module look loaded; the first look at it loads it. Loading it now could be a circle."""
    if TASK_RUNNER in sys.modules:
        return
    spec = importlib.util.find_spec(TASK_RUNNER)
    if spec is not None and spec.loader is not None:
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = sys.modules[TASK_RUNNER] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
