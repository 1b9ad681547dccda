"""How much memory a case takes: of all its processes together, or of the one that asked for the results.

``python -m tests.benchmarks.memory PID BEAT`` samples a process with all its descendants, every so many seconds, until
its own input ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MB", "Peak", "peak_of_all", "peak_of_parent"]

MB = 1_000_000
_BEAT = 0.01  # seconds between two samples


@dataclass
class Peak:
    """Memory at the most, in bytes beyond what was in use before."""

    extra: int = 0


@contextmanager
def peak_of_all(beat: float = _BEAT) -> Iterator[Peak]:
    """Sample the proportional set size of this process and all that it starts, from a process beside them."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", str(os.getpid()), str(beat)]
    peak = Peak()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sampler:
        assert sampler.stdout is not None
        before = int(sampler.stdout.readline())
        yield peak
        peak.extra = int(sampler.communicate()[0]) - before


@contextmanager
def peak_of_parent() -> Iterator[Peak]:
    """Let the kernel note the most resident memory of this process."""
    Path("/proc/self/clear_refs").write_text("5")
    before, peak = _status("VmRSS"), Peak()
    yield peak
    peak.extra = _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _sample(pid: int) -> int:
    """Sum up the proportional set sizes of a process and its descendants, but for this one."""
    import psutil

    total = 0
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            if process.pid != os.getpid():
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    total += process.memory_full_info().pss
    return total


def _set_at_the_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def _main(pid: int, beat: float) -> None:
    over = threading.Event()
    most = _sample(pid)
    print(most, flush=True)
    threading.Thread(target=_set_at_the_end_of_input, args=(over,), daemon=True).start()
    while not over.wait(beat):
        most = max(most, _sample(pid))
    print(most, flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]))
