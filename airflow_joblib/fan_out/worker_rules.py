"""What a worker goes by: for how long it runs a chunk, and how long an item may take."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_joblib.options.backends import backend_named
from airflow_joblib.wire.records import Rules

if TYPE_CHECKING:
    from airflow_joblib.options.options import Options

__all__ = ["rules_for", "rules_for_dispatches", "warn_of_timeout"]

log = logging.getLogger("airflow_joblib")

#: Seconds after which a worker hands back what it has of a chunk: what is lost with a worker or a task is no more.
_SLICE = 0.5
#: The same where there is a checkpoint, into which results must come within a second.
_CHECKPOINT_SLICE = 0.25
#: The least of both on a cluster, in units of the work that is worth a dispatch there.
_DISPATCHES_A_SLICE, _DISPATCHES_A_CHECKPOINT_SLICE = 4, 2

_THREADS_GO_ON = (
    "%s: item_timeout ends Python code in threads, but not a call into C or the operating system, which goes on until "
    "it returns by itself. A backend of processes can end that as well."
)
_CLUSTERS_GO_ON = (
    "%s: on a cluster item_timeout ends Python code, but not a call into C or the operating system, which goes on "
    "until it returns by itself. The backend loky can end that as well."
)


#: Items of an asynchronous function that one worker runs at a time, unless the option names a number.
_CONCURRENCY = 32
#: Seconds after which a worker that is given chunks starts no further item of one: those that run are awaited.
_ASYNC_SLICE = 5.0


def rules_for(options: Options, *, asynchronous: bool = False) -> Rules:
    """Return the rules of a run.

    A chunk whose size the user set is run to its end, unless there is a checkpoint, or a rate, which may take long.
    """
    strict = options.fail_fast and not options.max_failures and not options.item_retries
    if options.checkpoint is not False:
        seconds = _CHECKPOINT_SLICE
    else:
        whole = options.batch_size != "auto" and options.rate_limit is None
        seconds = float("inf") if whole else _SLICE
    concurrency = (options.concurrency or _CONCURRENCY) if asynchronous else 0
    seconds = max(seconds, _ASYNC_SLICE) if concurrency else seconds
    return Rules(strict, seconds, options.item_timeout, options.rate_limit, concurrency=concurrency)


def rules_for_dispatches(rules: Rules, options: Options, seconds: float) -> Rules:
    """Return rules by which each dispatch, which costs so many seconds on a cluster, brings enough work."""
    dispatches = _DISPATCHES_A_SLICE if options.checkpoint is False else _DISPATCHES_A_CHECKPOINT_SLICE
    return rules._replace(seconds=max(rules.seconds, dispatches * seconds))


def warn_of_timeout(name: str, options: Options, backend: str) -> None:
    """Warn where the workers of a backend can't hold the time limit of an item whatever the item does."""
    if options.item_timeout is None:
        return
    traits = backend_named(backend)
    if not traits.processes:
        log.warning(_THREADS_GO_ON, name)
    elif traits.cluster:
        log.warning(_CLUSTERS_GO_ON, name)
