"""The early template: forked before a task's arguments are loaded, for where no fork is safe any more afterwards.

::

    the operator is prepared ──► fork_early ──► a template that has neither call nor items
    XComs are loaded, templates rendered: pyarrow, say, starts its threads
    the run begins ──► choice ──► a fork is safe now ──► this template is closed
                          └─────► it isn't           ──► workers are forked from this one, and caught up

The latest safe fork goes first, since what the task has set in the meantime is not in this one.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager, suppress
from multiprocessing import util
from typing import TYPE_CHECKING, NamedTuple

from airflow_joblib.options.backends import backend_named
from airflow_joblib.pickling.inherited import Inherited
from airflow_joblib.pools.fork_safety import fresh_workers_wanted, make_template
from airflow_joblib.pools.worker_count import WorkerCount
from airflow_joblib.system import isolation, native_threads, warning_filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_joblib.options.options import Defaults, Options
    from airflow_joblib.pools.template import Template
    from airflow_joblib.system.warning_filters import WarningFilter

__all__ = ["CatchUp", "close_early", "early_template", "fork_early"]

log = logging.getLogger("airflow_joblib")

#: The template, and the process that it belongs to: a fork of the task has this variable too.
_early: tuple[Template, int] | None = None


def fork_early(name: str, options: Options, defaults: Callable[[], Defaults], before_fork: Callable[[], None]) -> None:
    """Fork a template, unless workers of a task with these options are no forks anyway, or a fork isn't safe already.

    Whatever is wrong here the run will meet again, where it belongs into the task's log.

    Args:
        name: The function's name, for the log.
        options: The decorator's options.
        defaults: Reads what holds where the options name no value.
        before_fork: Imports what workers need.
    """
    close_early()
    try:
        if _may_be_of_use(name, options, defaults()):
            before_fork()
            _fork()
    except Exception:
        log.debug("%s: no template was forked before the arguments are loaded.", name, exc_info=True)


def _may_be_of_use(name: str, options: Options, defaults: Defaults) -> bool:
    backend = options.backend or defaults.backend
    if (
        not backend_named(backend).if_safe or fresh_workers_wanted()
    ):  # backend="multiprocessing" takes the task as it stands
        return False
    n_jobs = defaults.n_jobs if options.n_jobs is None else options.n_jobs
    return WorkerCount(name, n_jobs, backend, options).requested() > 1


def _fork() -> None:
    global _early  # noqa: PLW0603 - a process has one or it hasn't
    template, threads = make_template(Inherited(prepare=native_threads.find))  # once for all of its workers
    if threads:
        template.close()
        return
    _early = template, os.getpid()
    util.Finalize(None, close_early, exitpriority=100)  # else an exit of the interpreter would wait for it


@contextmanager
def early_template() -> Iterator[Template | None]:
    """Lend the template of this process to one run, if there is one; it may have ended by now."""
    global _early  # noqa: PLW0603
    lent, _early = _early, None  # so that a run within that run can't close it
    try:
        yield lent[0] if lent is not None and lent[1] == os.getpid() else None
    finally:
        _early = lent


def close_early() -> None:
    """End the template of this process, if there is one."""
    global _early
    early, _early = _early, None
    if early is not None and early[1] == os.getpid():
        early[0].close()


class CatchUp(NamedTuple):
    """What a task has set since its early template was forked, of what a fresh worker would have of it too.

    Attributes:
        environment: The environment variables; Airflow's own about the task among them.
        folder: The current directory; empty where it is gone.
        path: Where modules are found.
        filters: The filters of warnings.
        closed: Whether it is closed to other processes of its user.
    """

    environment: Mapping[str, str]
    folder: str
    path: Sequence[str]
    filters: Sequence[WarningFilter]
    closed: bool

    @classmethod
    def to_here(cls) -> CatchUp:
        """Return what this process has."""
        folder = ""
        with suppress(OSError):
            folder = os.getcwd()  # noqa: PTH109
        closed = not isolation.open_to_others()
        return cls(dict(os.environ), folder, list(sys.path), warning_filters.snapshot(), closed)

    def __call__(self) -> None:
        """Set it in this process, a worker."""
        for name in os.environ.keys() - self.environment.keys():
            del os.environ[name]
        os.environ.update(self.environment)
        with suppress(OSError):
            os.chdir(self.folder)
        sys.path[:] = self.path
        warning_filters.apply(self.filters)
        if self.closed:
            isolation.close_to_others()
