"""A good DAG, which imports what lies beside it and below it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from airflow.sdk import dag, task
from beside import FACTOR
from inner.below import OFFSET
from joblib import Parallel, delayed

from airflow_joblib import parallel_task

assert __name__.startswith("unusual_prefix_")
assert not [path for path in sys.path if path in ("", os.getcwd())]
assert os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("airflow-db-not-allowed")


@parallel_task(n_jobs=2, item_timeout=60, pool="cpu", pool_slots=2)
def scale(item: int, run_id: str) -> int:
    return item * FACTOR + OFFSET


@task
def threads() -> list[int]:
    with ThreadPoolExecutor() as pool:
        list(pool.map(abs, [1]))
    return Parallel(n_jobs=2, prefer="threads")(delayed(abs)(each) for each in [1])


@dag(schedule=None)
def sound():
    scale(threads())


sound()
