"""DAGs whose tasks write the records that their run's conf has, one after another, as a fan-out does while it runs.

What a conf has of ``tries`` is done one after another by the tries of the task.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task


def _push(ti: Any, conf: dict[str, Any]) -> None:
    gates = conf["gates"]
    if "tries" in conf:
        conf = conf["tries"][ti.try_number - 1]
    for key, value in conf.get("xcoms", {}).items():
        ti.xcom_push(key, value)
    for step in conf.get("steps", []):
        if step["record"] is not None:
            ti.xcom_push("fan_out", step["record"])
        while step.get("until") and not Path(gates[step["until"]]).exists():
            time.sleep(0.1)
    if conf.get("fails"):
        raise RuntimeError("3 of 500 items failed.")


@task
def thumbnail(ti: Any = None, dag_run: Any = None) -> None:
    _push(ti, dag_run.conf)


@task(task_id="thumbnail")
def one_of_many(number: int, ti: Any = None, dag_run: Any = None) -> None:
    _push(ti, dag_run.conf)


for name in ("shown", "no_xcoms"):
    with DAG(name, schedule=None):
        thumbnail()

with DAG("shown_again", schedule=None):
    thumbnail.override(retries=1, retry_delay=timedelta(seconds=20))()

with DAG("shown_mapped", schedule=None):
    one_of_many.expand(number=[0, 1, 2])
