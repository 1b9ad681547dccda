"""What makes a worker process fit for Airflow. Run in every worker before its first item; imports no Airflow itself.

A task process keeps what it starts from Airflow's database with an address under which Airflow can't even be
imported, and Airflow in a process without a supervisor answers ``Variable.get`` with the default. So the address
becomes that of an empty database in memory, and the supervisor's place is taken by what refuses: an error, not a
wrong answer.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["TASK_RUNNER", "Steps", "prepare"]

_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"
_NO_SUPERVISOR = (
    "A worker process can't ask Airflow for Variables, Connections or XComs yet. Ask in the task, before the fan-out, "
    'and pass the value as a shared argument; or use backend="threading", whose workers can ask.'
)


@dataclass(frozen=True)
class Steps:
    """What a worker runs first, one after another. Equal to its copy, as long as its parts are."""

    steps: tuple[Callable[[], None], ...]

    def __call__(self) -> None:
        """Run them."""
        for step in self.steps:
            step()


def prepare() -> None:
    """Take Airflow's supervisor away from this worker, now or as soon as Airflow is imported."""
    if os.environ.get(_DATABASE, "").startswith("airflow-db-not-allowed:"):
        os.environ[_DATABASE] = "sqlite://"
    if (runner := sys.modules.get(TASK_RUNNER)) is not None:  # forked from the task's process
        _take_supervisor(runner)
    else:
        sys.meta_path.insert(0, _Watcher())


class NoSupervisorError(BaseException):
    """What stands for the error below in versions of Airflow that don't have it."""


def _error_that_passes() -> type[BaseException]:
    """Return the error that Airflow's secrets backends pass on; any other ends as "not found", or as the default."""
    try:
        from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied
    except ImportError:
        return NoSupervisorError
    return AirflowSecretsBackendAccessDenied  # type: ignore[no-any-return]


class _NoSupervisor:
    """Stands where a task has its supervisor."""

    def send(self, *_: object, **__: object) -> NoReturn:
        raise _error_that_passes()(_NO_SUPERVISOR)

    async def asend(self, *args: object, **kwargs: object) -> NoReturn:
        self.send(*args, **kwargs)


def _take_supervisor(runner: ModuleType) -> None:
    runner.SUPERVISOR_COMMS = _NoSupervisor()  # type: ignore[attr-defined]


class _Watcher(MetaPathFinder):
    """Waits for the task runner's module to be imported, then takes its supervisor."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that one module as the other finders do, and no other."""
        del path, target
        if fullname != TASK_RUNNER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            _after_execution(spec.loader)
        return spec


def _after_execution(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _take_supervisor(module)

    loader.exec_module = exec_module
