"""Which workers a run gets: forked from the task as it stands, from an early template, or fresh ones."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_joblib.options.backends import backend_named
from airflow_joblib.pools.early import close_early, early_template
from airflow_joblib.pools.fork_safety import fresh_workers_wanted, make_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_joblib.pickling.inherited import Inherited
    from airflow_joblib.pools.template import Template

__all__ = ["template"]

log = logging.getLogger("airflow_joblib")

_FORKED = "%s: workers are forked from this process as it stands, since no thread of it would be lost."
_FRESH = "%s: workers are fresh processes (loky), since %s. What they run is sent to them by value."
_THREADS = "a fork would lose the thread %s, which has been used"
_UNSAFE = (
    "%s: workers are forked as backend='multiprocessing' requires, though a fork loses the thread %s. If items hang, "
    "fork before that is used, or use backend='loky'."
)
_EARLY = (
    "%s: workers are forked from what this process was before the task's arguments were loaded, since a fork of it as "
    "it stands would lose the thread %s, which has been used. What has been set since, globals and options of "
    "libraries, is not there in the workers: set it at the top level of the DAG file, or in the function itself."
)


@contextmanager
def template(name: str, backend: str, given: Inherited) -> Iterator[Template | None]:
    """Give the template that the workers of a run are forked from; None where they are to be fresh ones.

    Args:
        name: The function's name, for the log.
        backend: ``"auto"``, or ``"multiprocessing"`` for a fork whether it is safe or not.
        given: What the workers are to inherit.
    """
    if reason := fresh_workers_wanted():
        log.info(_FRESH, name, reason)
        yield None
        return
    made, threads = make_template(given)
    if threads and backend_named(backend).if_safe:
        made.close()
        with early_template() as early:
            if early is None:
                log.info(_FRESH, name, _THREADS % threads[0])
            else:
                log.warning(_EARLY, name, threads[0])
            yield early
        return
    with made:
        close_early()
        if threads:
            log.warning(_UNSAFE, name, threads[0])
        else:
            log.info(_FORKED, name)
        yield made
