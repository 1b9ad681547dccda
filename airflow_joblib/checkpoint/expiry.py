"""What was kept, and never asked for again, goes after some days."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from airflow_joblib.checkpoint.listing import kept_below, remove
from airflow_joblib.system import clock
from airflow_joblib.system.credentials import without_credentials

if TYPE_CHECKING:
    from airflow_joblib.checkpoint.folders import Folder
    from airflow_joblib.checkpoint.listing import Kept

__all__ = ["remove_expired"]

log = logging.getLogger("airflow_joblib")

_DAY = 86400
#: Seconds of a search. What it has not come to is left to the next run's.
SECONDS = 5.0


def remove_expired(folder: Folder, days: int) -> None:
    """Remove the checkpoints, this one and those beside it, to which nothing was added for so many days.

    Raises nothing, and takes a few seconds at most.

    Args:
        folder: That of a call.
        days: Their age, 1 or more; 0 removes none.
    """
    if days and not folder.slow:
        _search(folder, days)
    elif days:
        thread = threading.Thread(target=_search, args=(folder, days), name="joblib-checkpoint", daemon=True)
        thread.start()
        thread.join(SECONDS)


def _search(folder: Folder, days: int) -> None:
    root, before, until = folder.root(), time.time() - days * _DAY, clock.now() + SECONDS
    removed = 0
    try:
        for kept in kept_below(root, folder.depth):
            if kept.added < before:
                removed += _removed(kept, before)
            if clock.now() > until:
                break
    except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
        why = without_credentials(str(error))
        log.debug("Old checkpoints below %s could not be looked for: %s: %s", root, type(error).__name__, why)
    if removed:
        what = "Removed %s checkpoint%s below %s: nothing was added for %s days, [joblib] checkpoint_days."
        log.info(what, f"{removed:,}", "" if removed == 1 else "s", root, days)


def _removed(kept: Kept, before: float) -> bool:
    try:
        return remove(kept, before=before)
    except Exception as error:  # noqa: BLE001 - another user's, or whatever a remote storage raises
        why = without_credentials(str(error))
        log.debug("The old checkpoint in %s is not removed: %s: %s", kept.folder, type(error).__name__, why)
        return False
