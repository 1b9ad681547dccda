"""What each item is given that Airflow gives a task: tries, limits, tolerated failures, checkpoints."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_joblib import parallel_task

try:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowFailException, AirflowSkipException

FOLDER = "{{ dag_run.conf['folder'] }}"
SOON = timedelta(seconds=1)
RULES: dict[str, Any] = {}
with suppress(ImportError):  # Airflow 3.3 and up
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    RULES["retry_policy"] = ExceptionRetryPolicy([RetryRule(LookupError, RetryAction.FAIL, reason="no use")])


def note(folder: str, name: str, item: int) -> int:
    """Note that an item runs; how often it has."""
    with Path(folder, name).open("a") as file:
        file.write(f"{item}\n")
    return Path(folder, name).read_text().split().count(str(item))


@parallel_task(n_jobs=2, item_retries=2, item_retry_delay=0.1)
def retried(item: int, folder: str) -> int:
    """Succeed at the third try."""
    if item == 3 and note(folder, "retried", item) < 3:
        raise LookupError(item)
    return item


@parallel_task(n_jobs=2, item_retries=1, item_retry_delay=0.1, max_failures=0.2)
def tolerated(item: int) -> int:
    """Fail on two of ten."""
    if item in {2, 7}:
        raise LookupError(f"no {item}")
    return item


@parallel_task(n_jobs=2, max_failures=1)
def beyond(item: int) -> int:
    """Fail on all."""
    raise LookupError(f"no {item}")


@parallel_task(n_jobs=2, backend="multiprocessing", item_retries=2, max_failures=5, retries=3, retry_delay=SOON)
def fails_for_good(item: int) -> int:
    """Say that no try helps."""
    if item == 4:
        raise AirflowFailException("for good")
    return item


@parallel_task(n_jobs=2, backend="multiprocessing")
def skips(item: int, above: int) -> int:
    """Skip some or all."""
    if item >= above:
        raise AirflowSkipException(f"not {item}")
    return item


@parallel_task(n_jobs=2, backend="multiprocessing", retries=1, retry_delay=SOON, **RULES)
def ruled(item: int, lookup: bool) -> int:
    """Raise what the rules name, or something else."""
    raise LookupError(item) if lookup else ConnectionError(item)


@parallel_task(backend="multiprocessing", item_timeout=1, max_failures=500, execution_timeout=timedelta(seconds=7))
def too_slow(item: int) -> None:
    """Take much longer than an item may."""
    time.sleep(600)


@parallel_task(n_jobs=2)
def fails_fast(item: int, folder: str) -> int:
    """Fail on the third of many, and say when."""
    note(folder, "fails_fast", item)
    time.sleep(1)
    if item == 2:
        Path(folder, "failed").write_text(str(time.time()))
        raise LookupError(item)
    return item


class Opaque:
    """Of no use in an XCom."""


@parallel_task(n_jobs=2)
def no_xcom(item: int, folder: str, name: str) -> dict[str, object]:
    """Return what can't be an XCom."""
    note(folder, name, item)
    time.sleep(0.05)
    return {"found": [1, Opaque()]}


@task(retries=0)
@parallel_task(n_jobs=2, backend="multiprocessing", max_failures=1)
def below_task(item: int) -> int:
    """Fail on one item, under a plain ``@task``."""
    if item == 1:
        raise LookupError(item)
    return item


with DAG("guarantees", schedule=None):
    retried(list(range(8)), FOLDER)
    tolerated(list(range(10)))
    beyond(list(range(10)))
    fails_for_good(list(range(10)))
    skips.override(task_id="skips_some")(list(range(4)), 2)
    skips.override(task_id="skips_all")(list(range(4)), 0)
    ruled.override(task_id="ruled_out")(list(range(4)), True)
    ruled.override(task_id="not_ruled_out")(list(range(4)), False)
    too_slow.override(task_id="too_slow", n_jobs=2)(list(range(500)))
    too_slow.override(task_id="too_slow_alone", n_jobs=1)(list(range(500)))
    fails_fast(list(range(1000)), FOLDER)
    for backend in ("loky", "multiprocessing", "threading", "sequential"):
        name = f"no_xcom_{backend}"
        no_xcom.override(backend=backend, task_id=name)(list(range(400)), FOLDER, name)
    below_task(list(range(4)))


@parallel_task(n_jobs=2, backend="multiprocessing", checkpoint=True, retries=1, retry_delay=SOON, batch_size=1)
def resumes(item: int, folder: str, name: str, bad: int, how: str) -> int:
    """End the whole task on one item, the first time."""
    times = note(folder, name, item)
    if item == bad and times == 1:
        seen = 0
        while seen != (seen := Path(folder, name).stat().st_size):  # until what was finished before has been kept
            time.sleep(3)
        if how == "kill":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        raise LookupError(item)
    time.sleep(0.02)
    return -item


def count_kept(context: Any) -> None:
    """Note how many files are kept for the task when it has been skipped."""
    kept = Path(os.environ["AIRFLOW_HOME"], "joblib_checkpoints", "guarantees_kept").rglob("*")
    task_id = context["ti"].task_id
    files = [path for path in kept if path.is_file() and task_id in str(path)]
    Path(context["dag_run"].conf["folder"], task_id).write_text(str(len(files)))


with DAG("guarantees_kept", schedule=None):
    skips.override(task_id="all_skipped", checkpoint=True, on_skipped_callback=count_kept)(list(range(4)), 0)
    resumes.override(task_id="killed")(list(range(60)), FOLDER, "killed", 30, "kill")
    resumes.override(task_id="failed")(list(range(60)), FOLDER, "failed", 30, "raise")
    resumes.override(task_id="cleared", retries=0)(list(range(60)), FOLDER, "cleared", 30, "raise")
    resumes.override(task_id="mapped").partial(folder=FOLDER, name="mapped", bad=110, how="kill").expand(
        item=[list(range(40)), list(range(100, 140))]
    )
