"""Tasks that tolerate failures and keep what has finished, so that clearing them runs the failed items alone."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import dag, task

from airflow_joblib import parallel_task

REMOTE = "sftp://storage@/kept-failed"


def ask(item: int, name: str) -> int:
    """Fail for every fifth item until a file is there that says all is mended; what ran is written down."""
    home = Path(os.environ["AIRFLOW_HOME"])
    with (home / f"{name}.ran").open("a") as file:
        file.write(f"{item}\n")
    if item % 5 == 4 and not (home / "mended").exists():
        raise ConnectionError(item)
    return item * 10


@parallel_task(n_jobs=2, checkpoint=True, max_failures=0.5)
def tolerates(item: int) -> int:
    """Succeed with what failed in the XCom ``failures``."""
    return ask(item, "tolerates")


@parallel_task(n_jobs=2, checkpoint=REMOTE, max_failures=0.5)
def tolerates_remote(item: int) -> int:
    """The same, kept on a remote storage."""
    return ask(item, "tolerates_remote")


@parallel_task(n_jobs=2, checkpoint=True, fail_fast=False)
def runs_all(item: int) -> int:
    """Run every item, then fail."""
    return ask(item, "runs_all")


@parallel_task(n_jobs=2, checkpoint=True, max_failures=0.5)
def part(item: int) -> int:
    """One of several fan-outs of a task."""
    return ask(item, "calls_three")


@parallel_task(n_jobs=2, checkpoint=True)
def other(item: int) -> int:
    """Another function."""
    return ask(item, "calls_three")


@task
def calls_three() -> list[int | None]:
    """One without a failure, one with four, and one of another function."""
    return [*part.map([20, 21]), *part.map(range(20)), *other.map([22, 23])]


@dag(schedule=None)
def keeps_failed() -> None:
    """One task for each way to fail."""
    for each in (tolerates, tolerates_remote, runs_all):
        each(list(range(20)))
    calls_three()


keeps_failed()
