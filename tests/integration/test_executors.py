"""The CeleryExecutor, for real: a Redis broker, a PostgreSQL metadata database, a worker with a prefork pool."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.harness import AirflowInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(300)]

WORKERS = """
import os, time
from airflow.sdk import dag, task
from airflow_joblib import parallel_task

@parallel_task(n_jobs=3)
def where(item):
    time.sleep(0.2)
    return os.getpid()

@task
def here():
    import multiprocessing
    pids = where.map(range(6))
    return {"pids": pids, "task": os.getpid(), "daemon": multiprocessing.current_process().daemon}

@dag(schedule=None)
def workers():
    for backend in ("loky", "multiprocessing", "threading"):
        where.override(backend=backend, task_id=backend)(list(range(12)))
    here()

workers()
"""


@pytest.fixture(scope="module")
def redis_url() -> str:
    """A Redis database of its own; skips where no server answers."""
    redis = pytest.importorskip("redis")
    url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/11")
    client = redis.Redis.from_url(url)
    try:
        client.ping()
    except redis.exceptions.ConnectionError as error:
        pytest.skip(f"No Redis at TEST_REDIS_URL or 127.0.0.1:6379: {error}")
    client.flushdb()
    return url


@pytest.fixture(scope="module")
def metadata_url(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database, dropped afterwards."""
    import psycopg2

    name = f"airflow_joblib_{secrets.token_hex(4)}"
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


@pytest.fixture(scope="module")
def celery(tmp_path_factory: pytest.TempPathFactory, redis_url: str, metadata_url: str) -> Iterator[AirflowInstance]:
    """An Airflow with a Celery worker of two processes."""
    folder = tmp_path_factory.mktemp("celery_dags")
    (folder / "workers.py").write_text(WORKERS)
    rest = metadata_url.partition("://")[2]
    config = {
        "core": {"executor": "CeleryExecutor"},
        "database": {"sql_alchemy_conn": f"postgresql+psycopg2://{rest}"},
        "celery": {"broker_url": redis_url, "result_backend": f"db+postgresql+psycopg2://{rest}", "pool": "prefork"},
    }
    services = {"celery": ("worker", "--concurrency", "2", "--skip-serve-logs", "--without-mingle", "--without-gossip")}
    home = tmp_path_factory.mktemp("celery_home")
    with AirflowInstance(home, [folder], config=config, services=services) as instance:
        instance.wait_for_dags("workers")
        yield instance
    assert not instance.leftovers()


def test_full_number_of_workers_under_celery(celery: AirflowInstance) -> None:
    """A task of Celery's prefork pool, marked as daemonic, gets all its workers, and the mark is as it was."""
    run = celery.run_dag("workers", timeout=180)
    for task_id in ("loky", "multiprocessing", "threading", "here"):
        assert run.task(task_id).state == "success", celery.log(run.dag_id, run.run_id, task_id)
    for backend in ("loky", "multiprocessing"):
        assert len(set(celery.xcom(run.dag_id, run.run_id, backend))) == 3
    assert len(set(celery.xcom(run.dag_id, run.run_id, "threading"))) == 1
    here = celery.xcom(run.dag_id, run.run_id, "here")
    assert len(set(here["pids"])) == 3
    assert here["task"] not in here["pids"]
    assert here["daemon"] is True
