"""Ends what a local cluster leaves whose task was killed. A program of its own, for one cluster's folder.

Ray's processes end with the task that has started them, but for an agent that tries for a minute to notify the others;
Dask's all do, and leave their files.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["DONE", "GIVEN_UP", "main"]

#: What a task sends that has ended its cluster itself, or could not.
DONE, GIVEN_UP = b"done", b"kill"
#: Seconds between two looks at whether the task is still there.
_TASK = 0.5
#: Seconds for processes to end, and between two looks at them.
_PATIENCE, _LOOK = 10.0, 0.1


def main(folder: str, task: int) -> None:
    """Wait for the task to send that it is done, or to give up, or to end; then clear up after it."""
    if _message(task) != DONE:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and (left := _processes(f"{folder}/") - {task}):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK)
    shutil.rmtree(folder, ignore_errors=True)


def _message(task: int) -> bytes:
    """Return what the task sends, nothing if it has ended: a child that it has forked may hold the pipe open."""
    received = b""
    while len(received) < len(DONE):
        if select.select([0], [], [], _TASK)[0]:
            if not (more := os.read(0, len(DONE) - len(received))):
                return b""
            received += more
        elif os.getppid() != task:
            return b""
    return received


def _processes(folder: str) -> set[int]:
    """Return the processes that write to a file of the folder, as those of a cluster do to a log or a lock."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            if any(str(file.readlink()).startswith(folder) and _writes(file) for file in (process / "fd").iterdir()):
                found.add(int(process.name))
    return found


def _writes(file: Path) -> bool:
    """Return whether an open file is open for writing, not for a look at it."""
    (flags,) = [line for line in (file.parents[1] / "fdinfo" / file.name).open() if line.startswith("flags:")]
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
