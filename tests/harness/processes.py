"""Child processes that log to a file, and every process below them, orphans included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.harness.settings import MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Service", "airflow_command", "describe", "is_idle_worker", "kill_all", "marked"]


def airflow_command(*arguments: str) -> list[str]:
    """The ``airflow`` script of this very environment: what a user runs, so tasks see the same ``__main__``."""
    script = Path(sysconfig.get_path("scripts"), "airflow")
    return [str(script), *arguments] if script.exists() else [sys.executable, "-m", "airflow", *arguments]


class Service:
    """One long-running Airflow component."""

    def __init__(self, name: str, *, environment: Mapping[str, str], log: Path, options: Sequence[str] = ()) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal must not stop the services before the harness does.
            self._process = subprocess.Popen(
                airflow_command(name, *options),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> None:
        """Wait until it has ended; subprocess.TimeoutExpired if it has not after so many seconds."""
        self._process.wait(timeout)

    def tail(self, lines: int = 30) -> str:
        """The last lines it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def marked(marker: str) -> list[psutil.Process]:
    """Every living process that inherited *marker*, whoever its parent is by now; never this one."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _carries(process, marker)]


def kill_all(processes: Sequence[psutil.Process], *, timeout: float = 5) -> None:
    """SIGKILL them and wait until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=timeout)


def is_idle_worker(process: psutil.Process) -> bool:
    """Return whether it is a worker of LocalExecutor that has nothing to do."""
    return "LocalExecutor: <idle>" in describe(process)


def describe(process: psutil.Process) -> str:
    """A process in a few words, for a message."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.Error:
        return f"{process.pid} (gone)"


def _carries(process: psutil.Process, marker: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == marker
    except (psutil.Error, OSError):  # ended meanwhile, or another user's
        return False
