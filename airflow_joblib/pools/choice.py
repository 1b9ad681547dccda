"""Which workers a run gets: forked from the task, or fresh ones."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_joblib.pools.executor import work
from airflow_joblib.pools.fork_safety import fresh_workers_wanted, safe_template
from airflow_joblib.pools.template import Template

if TYPE_CHECKING:
    from airflow_joblib.picklability.inherited import Inherited

__all__ = ["template"]

log = logging.getLogger("airflow_joblib")

_FRESH = "%s: workers are fresh processes (loky), since %s. What they run is sent to them by value."
_THREADS = "a fork would lose the thread %s, which has been used"
_UNSAFE = (
    "%s: workers are forked as backend='multiprocessing' asks, though a fork loses the thread %s. If items hang, fork "
    "before that is used, or use backend='loky'."
)


def template(name: str, backend: str, given: Inherited) -> Template | None:
    """Return the template that the workers of a run are forked from; None where they are to be fresh ones.

    Args:
        name: The function's name, for the log.
        backend: ``"auto"``, or ``"multiprocessing"`` for a fork whether it is safe or not.
        given: What the workers are to inherit.
    """
    if reason := fresh_workers_wanted():
        log.info(_FRESH, name, reason)
        return None
    made, threads = safe_template(given)
    if made is not None:
        log.debug("%s: workers are forked from this process.", name)
        return made
    if backend == "multiprocessing":
        log.warning(_UNSAFE, name, threads[0])
        return Template(given, work)
    log.info(_FRESH, name, _THREADS % threads[0])
    return None
