"""What the processes of loky's and of multiprocessing's resource trackers run: their own functions."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress

__all__ = ["main"]

#: What each prints when it removes what a process that was killed had: that is its purpose, and no news to anybody. It
#: would stand at error level in a task's log. What else a process has left, such as shared memory of its own, is named.
_EXPECTED = {
    "loky": r"resource_tracker: (There appear to be \d+ leaked|.*FileNotFoundError)",
    "multiprocessing": r"resource_tracker: There appear to be \d+ leaked semaphore",
}


def main(how: str, whose: str, pipe: int) -> None:
    """Track until every process that could own something has ended, which a kill of the task's group must not end.

    Args:
        how: What the task requires of this process.
        whose: ``loky`` or ``multiprocessing``.
        pipe: Where this process gets its orders.
    """
    from airflow_joblib.system import isolation
    from airflow_joblib.system.isolated_start import process

    if how == process.CLOSED:
        isolation.close_to_others()
    with suppress(PermissionError):  # it leads a group already
        os.setsid()
    if whose == "loky":
        from joblib.externals.loky.backend.resource_tracker import main as track
    else:
        from multiprocessing.resource_tracker import main as track
    warnings.filterwarnings("ignore", _EXPECTED[whose])
    track(pipe)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
