"""A task that leaves a process behind, to try the harness on."""

from __future__ import annotations

import subprocess

from airflow.sdk import dag, task


@task
def leave_orphan() -> int:
    """Start a process in a session of its own; its id."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(["sleep", "120"], start_new_session=True, **quiet).pid  # type: ignore[call-overload, no-any-return]


@dag(schedule=None)
def leaves_orphan() -> None:
    """One task."""
    leave_orphan()


leaves_orphan()
