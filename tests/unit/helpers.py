"""What several unit tests look at: the process table, and files that workers leave notes in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROCESSES = ("loky", "multiprocessing")
LOCAL = (*PROCESSES, "threading", "sequential")


def worker_processes() -> list[psutil.Process]:
    """Return the living children of this process, all generations, without the trackers that clean up after us."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            tracker = "resource_tracker" in " ".join(process.cmdline())
            if not tracker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def eventually(holds: Callable[[], object], seconds: float = 5.0) -> bool:
    """Tell whether *holds* becomes true within *seconds*."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def note(path: Path, text: object = "") -> None:
    """Append a line to a file, whole, whoever else does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def notes(path: Path) -> list[str]:
    """Return the lines of a file, none where it does not exist."""
    return path.read_text().splitlines() if path.exists() else []


def run_python(code: str, *, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=check,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
