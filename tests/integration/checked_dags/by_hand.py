"""Parallelism by hand."""

from airflow.sdk import dag, task
from joblib import Parallel, delayed


def convert(amount: float) -> float:
    return amount * 0.9


@task
def convert_all(amounts: list[float]) -> list[float]:
    return Parallel(n_jobs=4)(delayed(convert)(amount) for amount in amounts)  # AJ101


@dag(schedule=None)
def pipeline():
    convert_all([1.0])


pipeline()
