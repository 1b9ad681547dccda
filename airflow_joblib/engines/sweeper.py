"""Ends what a local cluster leaves whose task was killed. A program of its own, for one cluster's folder.

Ray's processes end with the task that has started them, but for an agent that tries for a minute to tell the others;
Dask's all do, and leave their files.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["DONE", "main"]

#: What a task says that has ended its cluster itself.
DONE = b"done"
#: Seconds for processes to end, and between two looks at them.
_PATIENCE, _LOOK = 10.0, 0.1


def main(folder: str, task: int) -> None:
    """Wait for the task to say that it is done, or to give up, or to end; then clear up after it."""
    if sys.stdin.buffer.read() != DONE:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and (left := _processes(f"{folder}/") - {task}):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(folder: str) -> set[int]:
    """Return the processes that have a file of the folder open, as each of a cluster has its log."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            if any(str(file.readlink()).startswith(folder) for file in (process / "fd").iterdir()):
                found.add(int(process.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
