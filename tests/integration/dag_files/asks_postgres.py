"""Items that query PostgreSQL through a hook."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag

from airflow_joblib import parallel_task


@parallel_task(n_jobs=2)
def query(number: int) -> list[Any]:
    """Ask the server what the number is called."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    statement = "SELECT (ARRAY['one', 'two'])[%s], %s"
    return list(PostgresHook("a_postgres").get_first(statement, parameters=(number, number)))


@dag(schedule=None)
def asks_postgres() -> None:
    """Forked workers and fresh ones."""
    for backend in ("loky", "multiprocessing"):
        query.override(backend=backend, task_id=backend)([1, 2])


asks_postgres()
