"""Tasks that keep finished items, are killed, and find them in their next try."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from airflow_joblib.checkpoint import Checkpoint, call_key
from airflow_joblib.taskflow.task.checkpoint_folder import folder

REMOTE = "sftp://storage@/checkpoints"


class Parcel:
    """A result of a class of this file."""

    def __init__(self, content: Any) -> None:
        self.content = content


def checkpoint(where: str | None) -> Checkpoint:
    """The checkpoint of the task that runs now, with what earlier tries have left."""
    kept = Checkpoint(folder(where), call_key(f"{__name__}.parcel", {"width": 3}))
    kept.load()
    return kept


def keep_then_find(where: str | None, offset: int = 0) -> dict[str, Any]:
    """Keep ten items and be killed; in the next try, find them."""
    kept = checkpoint(where)
    items = range(offset, offset + 10)
    if get_current_context()["ti"].try_number == 1:
        kept.add(items, [Parcel(item * 10) for item in items])
        kept.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    found = [kept.take(item) for item in items]
    kept.clear()
    same = all(type(each.value) is Parcel for each in found if each)
    return {"found": kept.found, "values": [each and each.value.content for each in found], "class": same}


@task(retries=1, retry_delay=timedelta(0))
def local() -> dict[str, Any]:
    """Where the configuration says."""
    return keep_then_find(None)


@task(retries=1, retry_delay=timedelta(0))
def remote() -> dict[str, Any]:
    """On a remote storage, by a connection of Airflow."""
    return keep_then_find(REMOTE)


@task(retries=1, retry_delay=timedelta(0))
def mapped(offset: int) -> dict[str, Any]:
    """The same items but for their numbers, in several instances at a time."""
    return keep_then_find(REMOTE, offset)


@task
def leaves_some() -> str:
    """Keeps items and doesn't clear them; where they are."""
    kept = checkpoint(None)
    kept.add([1, 2], ["one", "two"])
    kept.flush()
    return str(kept.folder)


@dag(schedule=None)
def keeps_items() -> None:
    """One task for each kind of place."""
    local()
    remote()
    mapped.expand(offset=[0, 5])
    leaves_some()


keeps_items()
