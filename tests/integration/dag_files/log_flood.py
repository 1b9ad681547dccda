"""One hundred thousand lines from four workers."""

from __future__ import annotations

import logging
from pathlib import Path

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

LINES = 25_000


@parallel_task(n_jobs=4, batch_size=1)
def flood(number: int) -> int:
    """Say so many lines as fast as it goes."""
    log = logging.getLogger("shop.flood")
    for line in range(LINES):
        log.info("flood %d %d", number, line)
    return number


def peak() -> int:
    """Return the most memory that this process has had, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@task
def flooded() -> dict[str, int]:
    """Fan out, and tell how much more memory this process has had meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    done = flood.map(range(4))
    return {"done": len(done), "before": before, "growth": peak() - before}


@dag(schedule=None)
def log_flood() -> None:
    """One task."""
    flooded()


log_flood()
