"""What a task's run has in a worker of a cluster: Airflow for its threads, and its log. Imports no Airflow itself.

The worker may serve several runs, of several tasks, and other users' work beside. So what stands in for a task's
supervisor and context is found only by threads of a run, each its own, and goes when the last run does.
"""

from __future__ import annotations

import functools
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_joblib.clusters.run_hooks import Guest
from airflow_joblib.system.import_hooks import when_imported
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_internals import CONTEXT, LOOK_FOR_RUNNER, TASK_RUNNER
from airflow_joblib.taskflow.cluster import worker_logs
from airflow_joblib.taskflow.cluster.thread_route import Seat, here
from airflow_joblib.taskflow.relay.worker_setup import allow_import, let_go_of_stdin, promise_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_joblib.taskflow.logs.levels import Levels

__all__ = ["Invitation", "TaskGuest", "made_here"]

#: Invitations that were made in this process, which is their task's: it has all this already.
made_here: set[str] = set()

_lock = threading.RLock()
_guests: set[TaskGuest] = set()
_undo: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Invitation:
    """What a worker is given to have a task's guest. Called, it makes that.

    Attributes:
        engine: Name of the backend.
        ask: The channel to the task's process; None where there is none.
        context: The task's context, each value pickled by itself; None where there is none.
        levels: The task's levels of logging.
        number: Which invitation this is.
    """

    engine: str
    ask: Callable[[bytes], bytes] | None = field(repr=False)
    context: Mapping[str, bytes] | None = field(repr=False)
    levels: Levels
    number: str = field(default_factory=functools.partial(secrets.token_hex, 16))

    def __call__(self) -> Guest:
        """Let a run in."""
        if self.number in made_here:
            return Guest()
        guest = TaskGuest(self)
        with _lock:
            if not _guests:
                _install()
            _guests.add(guest)
        return guest


class TaskGuest(Guest):
    """A run of a task in this worker process.

    Args:
        invitation: What it has brought.

    Attributes:
        context: The task's context; None where there is none.
        levels: What of its log the task wants.
    """

    def __init__(self, invitation: Invitation) -> None:
        from airflow_joblib.taskflow.relay.supervisor_proxy import ByChannel
        from airflow_joblib.taskflow.relay.worker_context import WorkerContext

        self._ask = invitation.ask
        self.levels = worker_logs.Wanted(invitation.levels)
        self.comms = ByChannel(invitation.ask, invitation.engine)
        self.context = None if invitation.context is None else WorkerContext(invitation.context)

    def enter(self) -> None:
        """Seat this thread."""
        here.set(Seat(self, self._ask))

    def said(self) -> list[bytes]:
        """Return, and forget, what this thread has said."""
        seat = here.get()
        return [] if seat is None else seat.take()

    def full(self) -> bool:
        """Tell whether this thread has said much."""
        seat = here.get()
        return seat is not None and seat.full

    def flush(self) -> None:
        """Send what this thread has said."""
        seat = here.get()
        if seat is not None:
            seat.flush()

    def leave(self) -> None:
        """Go, and with the last one all that was put in place."""
        with _lock:
            _guests.discard(self)
            if not _guests:
                while _undo:
                    with suppress(Exception):
                        _undo.pop()()


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
    seat = here.get()
    return None if seat is None else seat.guest.comms


def _context() -> Any:
    seat = here.get()
    return None if seat is None else seat.guest.context


def _lend(module: Any, name: str, value: object) -> None:
    before = vars(module).get(name)

    def undo() -> None:
        if before is None:
            delattr(module, name)
        else:
            setattr(module, name, before)

    setattr(module, name, value)
    _undo.append(undo)
