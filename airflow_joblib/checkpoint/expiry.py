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
_MOST_DAYS = 36500
#: Seconds of a search. What it has not come to is left to other runs'.
SECONDS = 5.0
#: Seconds after which a search was long, and until the next one then, of the same process in the same place.
_LONG, _PAUSE = 0.2, 3600.0
_not_before: dict[str, float] = {}


def remove_expired(folder: Folder, days: int) -> None:
    """Remove the checkpoints, this one and those beside it, that were not used for so many days.

    Raises nothing, and takes a few seconds at most. What has taken long is not done again for an hour.

    Args:
        folder: That of a call.
        days: Their age, 1 or more; 0 removes none.
    """
    began, root = clock.now(), folder.root()
    place = str(root)
    if not days or began < _not_before.get(place, began):
        return
    if not folder.slow:
        _search(root, days)
    else:
        thread = threading.Thread(target=_search, args=(root, days), name="joblib-checkpoint", daemon=True)
        thread.start()
        thread.join(SECONDS)
    if clock.now() - began > _LONG:
        _not_before[place] = clock.now() + _PAUSE


def _search(root: Folder, days: int) -> None:
    before, removed = time.time() - min(days, _MOST_DAYS) * _DAY, 0
    try:
        for kept in kept_below(root, clock.now() + SECONDS):
            if kept.added < before:
                removed += _removed(kept, before)
    except Exception as error:  # noqa: BLE001 - whatever a remote storage raises
        why = without_credentials(str(error))
        log.debug("Old checkpoints below %s could not be looked for: %s: %s", root, type(error).__name__, why)
    if removed:
        what = "Removed %s checkpoint%s below %s: not used for %s days, [joblib] checkpoint_days."
        log.info(what, f"{removed:,}", "" if removed == 1 else "s", root, days)


def _removed(kept: Kept, before: float) -> bool:
    try:
        return remove(kept, before=before)
    except Exception as error:  # noqa: BLE001 - another user's, or whatever a remote storage raises
        why = without_credentials(str(error))
        log.debug("The old checkpoint in %s is not removed: %s: %s", kept.folder, type(error).__name__, why)
        return False
