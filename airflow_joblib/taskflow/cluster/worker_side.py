"""What a task's run has in a worker of a cluster: Airflow for its threads, and its log. Imports no Airflow itself.

The worker may serve several runs, of several tasks, and other users' work beside. So what stands in for a task's
supervisor and context is found only by threads of a run, each its own, and goes when the last run does.
"""

from __future__ import annotations

import functools
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.run_session import RunSession
from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_names import CONTEXT, LOOK_FOR_RUNNER, TASK_RUNNER
from airflow_joblib.taskflow.cluster import worker_logs
from airflow_joblib.taskflow.cluster.thread_route import ThreadRoute, current_route
from airflow_joblib.taskflow.relay.worker_setup import allow_import, let_go_of_stdin, promise_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_joblib.taskflow.logs.levels import Levels

__all__ = ["SessionFactory", "TaskSession", "made_here"]

#: Ids of factories that were made in this process, which is their task's: it has all this already.
made_here: set[str] = set()

_lock = threading.RLock()
_sessions: set[TaskSession] = set()
_undo: list[Callable[[], None]] = []


@dataclass(frozen=True)
class SessionFactory:
    """Makes a task's session in a worker that was sent this.

    Attributes:
        engine: Name of the backend.
        ask: The channel to the task's process, which takes a request and, as *over*, what returns whether the run is
            over; None where there is none.
        context: The task's context, each value pickled by itself; None where there is none.
        levels: The task's levels of logging.
        number: Unique id of this factory.
    """

    engine: str
    ask: Callable[..., bytes] | None = field(repr=False)
    context: Mapping[str, bytes] | None = field(repr=False)
    levels: Levels
    number: str = field(default_factory=functools.partial(secrets.token_hex, 16))

    def __call__(self) -> RunSession:
        """Begin the session of the run."""
        if self.number in made_here:
            return RunSession()
        session = TaskSession(self)
        with _lock:
            if not _sessions:
                try:
                    _install()
                except BaseException:
                    worker_logs.take_back(_undo)
                    raise
            _sessions.add(session)
        return session


class TaskSession(RunSession):
    """The session of a task's run in this worker process.

    Args:
        factory: Has the channel, the context and the levels.

    Attributes:
        context: The task's context; None where there is none.
        levels: What of its log the task wants.
    """

    def __init__(self, factory: SessionFactory) -> None:
        from airflow_joblib.taskflow.relay.supervisor_proxy import ByChannel
        from airflow_joblib.taskflow.relay.worker_context import WorkerContext

        self._over = threading.Event()
        self._ask = factory.ask and functools.partial(factory.ask, over=self._over.is_set)
        self.levels = worker_logs.Wanted(factory.levels)
        self.comms = ByChannel(self._ask, factory.engine)
        self.context = None if factory.context is None else WorkerContext(factory.context)

    def enter(self) -> None:
        """ThreadRoute this thread."""
        current_route.set(ThreadRoute(self, self._ask))

    def take_log_lines(self) -> list[bytes]:
        """Return, and forget, the lines that this thread has logged."""
        route = current_route.get()
        return [] if route is None else route.take()

    def full(self) -> bool:
        """Return whether this thread has logged much."""
        route = current_route.get()
        return route is not None and route.full

    def flush(self) -> None:
        """Send the lines that this thread has logged."""
        route = current_route.get()
        if route is not None:
            route.flush()

    def leave(self) -> None:
        """End the session, and what waits for an answer; with the last one undo all that was put in place."""
        self._over.set()
        with _lock:
            _sessions.discard(self)
            if not _sessions:
                worker_logs.take_back(_undo)


def _install() -> None:
    if allow_import():  # a local cluster's worker, which has the task's descriptors as well
        let_go_of_stdin()
    _undo.append(worker_logs.install())
    _undo.append(when_imported(TASK_RUNNER, _lend_supervisor))
    _undo.append(when_imported(CONTEXT, _lend_context))
    _undo.extend(when_imported(name, promise_runner) for name in LOOK_FOR_RUNNER)


def _lend_supervisor() -> None:
    """Let threads of a run find the supervisor's line as an attribute of the module, and no other thread."""
    _lend(*airflow_internals.lend_supervisor(_comms))


def _lend_context() -> None:
    _lend(*airflow_internals.lend_context(_context))


def _comms() -> Any:
    route = current_route.get()
    return None if route is None else route.session.comms


def _context() -> Any:
    route = current_route.get()
    return None if route is None else route.session.context


def _lend(module: Any, name: str, value: object) -> None:
    before = vars(module).get(name)

    def undo() -> None:
        if before is None:
            delattr(module, name)
        else:
            setattr(module, name, before)

    setattr(module, name, value)
    _undo.append(undo)
