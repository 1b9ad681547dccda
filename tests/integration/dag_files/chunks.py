"""Chunks of a list, each fanned out by a mapped task, and their results in one list."""

import time

from airflow.sdk import dag, task

from airflow_joblib import join, parallel_task, split


@task
def numbers():
    return list(range(40))


@parallel_task(n_jobs=2)
def square(number, plus):
    """The square, and whether the Celery worker above this process is the second one."""
    import psutil

    time.sleep(0.1)
    above = " ".join(part for process in psutil.Process().parents() for part in process.cmdline())
    return [number * number + plus, "--celery-hostname second@" in above]


@dag(schedule=None)
def chunks():
    join(square.partial(plus=1).expand(number=split(numbers(), into=8)))


chunks()
