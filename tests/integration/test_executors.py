"""The CeleryExecutor, for real: a Redis broker, a PostgreSQL metadata database, a worker with a prefork pool."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psutil
import pytest

from tests.harness import AirflowInstance
from tests.integration.endings import PROCESSES, begun, check_all_gone, check_none_went_on, eventually, sockets
from tests.integration.test_async import CONNECTION, TOLD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness import DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(900)]

WORKER = ("worker", "--skip-serve-logs", "--without-mingle", "--without-gossip")
DAG_FILES = Path(__file__).parent / "dag_files"


@pytest.fixture(scope="module")
def broker() -> Iterator[dict[str, dict[str, str]]]:
    """Configuration of a Redis broker, with keys that nobody else uses; skips where no server answers."""
    redis = pytest.importorskip("redis")
    url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/11")
    client = redis.Redis.from_url(url)
    try:
        client.ping()
    except redis.exceptions.ConnectionError as error:
        pytest.skip(f"No Redis at TEST_REDIS_URL or 127.0.0.1:6379: {error}")
    prefix = f"airflow-joblib-{secrets.token_hex(4)}-"
    yield {"celery": {"broker_url": url}, "celery_broker_transport_options": {"global_keyprefix": prefix}}
    for key in client.scan_iter(f"{prefix}*"):
        client.delete(key)


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
def celery(
    tmp_path_factory: pytest.TempPathFactory, broker: dict[str, dict[str, str]], metadata_url: str
) -> Iterator[AirflowInstance]:
    """An Airflow with a Celery worker of two processes."""
    folder = tmp_path_factory.mktemp("celery_dags")
    for name in ("workers", "asynchronous", "plain_joblib", "endings", "chunks"):
        shutil.copy(DAG_FILES / f"{name}.py", folder)
    rest = metadata_url.partition("://")[2]
    backend = {"result_backend": f"db+postgresql+psycopg2://{rest}", "pool": "prefork"}
    config = {
        **broker,
        "core": {"executor": "CeleryExecutor"},
        "database": {"sql_alchemy_conn": f"postgresql+psycopg2://{rest}"},
        "celery": {**broker["celery"], **backend},
    }
    home = tmp_path_factory.mktemp("celery_home")
    (home / "tmp").mkdir()
    environment = {"TMPDIR": str(home / "tmp")}
    services = {"celery": (*WORKER, "--concurrency", "2")}
    with AirflowInstance(home, [folder], env=environment, config=config, services=services) as instance:
        instance.wait_for_dags("workers", "asynchronous", "plain_joblib_where", "endings_loky", "chunks")
        for key, value in (("greeting", "hello"), ("asynchronous", "told")):
            instance.api.set_variable(key, value)
        instance.api.set_connection(**CONNECTION)
        shop = {"connection_id": "shop", "conn_type": "http", "host": "shop.example"}
        instance.api.set_connection(**shop)
        yield instance
    check_none_went_on()
    assert not instance.leftovers()


@pytest.fixture(scope="module")
def run(celery: AirflowInstance, tmp_path_factory: pytest.TempPathFactory) -> DagRunResult:
    """One run of what asks for workers."""
    return celery.run_dag("workers", {"folder": str(tmp_path_factory.mktemp("workers"))})


def test_full_number_of_workers_under_celery(celery: AirflowInstance, run: DagRunResult) -> None:
    """A task of Celery's prefork pool, marked as daemonic, gets all its workers, and the mark is as it was."""
    for task_id in ("loky", "multiprocessing", "threading", "here"):
        assert run.task(task_id).state == "success", celery.log(run.dag_id, run.run_id, task_id)
    for backend in ("loky", "multiprocessing"):
        assert len(set(celery.xcom(run.dag_id, run.run_id, backend))) == 3
    assert len(set(celery.xcom(run.dag_id, run.run_id, "threading"))) == 1
    here = celery.xcom(run.dag_id, run.run_id, "here")
    assert len(set(here["pids"])) == 3
    assert here["task"] not in here["pids"]
    assert here["daemon"] is True


@pytest.mark.parametrize("backend", PROCESSES)
def test_airflow_in_workers_under_celery(celery: AirflowInstance, run: DagRunResult, backend: str) -> None:
    """Variables, connections and the log are those of the task, in the workers of a task that Celery runs too."""
    task_id = f"ask_{backend}"
    assert run.task(task_id).state == "success", celery.log(run.dag_id, run.run_id, task_id)
    assert celery.xcom(run.dag_id, run.run_id, task_id) == [["hello", "shop.example"]] * 2
    said = [event for event in celery.log_events(run.dag_id, run.run_id, task_id) if event["logger"] == "shop.orders"]
    assert sorted((event["level"], event["event"], event["item"]) for event in said) == [
        ("info", "informed of 0", 0),
        ("info", "informed of 1", 1),
    ]


def test_asynchronous_functions_under_celery(celery: AirflowInstance) -> None:
    """Items of an asynchronous function run together in each form of a task, and ask Airflow meanwhile."""
    run = celery.run_dag("asynchronous")
    assert {task.name: task.state for task in run.tasks if task.state != "success"} == {}
    for task_id in ("ask", "ask_loky", "ask_threading", "ask_sequential"):
        assert celery.xcom(run.dag_id, run.run_id, task_id) == [[3 * number, *TOLD] for number in range(20)]
    assert celery.xcom(run.dag_id, run.run_id, "mapped", 1) == [[6, *TOLD]]
    assert celery.xcom(run.dag_id, run.run_id, "stacked") == [2, 4, 6]


@pytest.mark.nightly
def test_8_plain_joblib_under_celery(
    celery: AirflowInstance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand, all items run in one process, as Celery's are marked as daemonic; ours run in as many as asked for."""
    for kind in ("plain", "ours"):
        (tmp_path / kind).mkdir()
    run = celery.run_dag("plain_joblib_where", {"folder": str(tmp_path)})
    plain, ours = (set(celery.xcom(run.dag_id, run.run_id, f"{kind}_where")) for kind in ("plain", "ours"))
    with capsys.disabled():
        print(f"\n| 8 | {len(plain)} process for n_jobs=2 | {len(ours)} processes |")
    assert (len(plain), len(ours)) == (1, 2)


@pytest.mark.parametrize("backend", PROCESSES)
def test_celery_worker_is_killed(
    celery: AirflowInstance, tmp_path: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL of a whole Celery worker, its main process and those of its pool: the task ends with all its workers."""
    doomed = celery.another(
        "celery", *WORKER, "--concurrency", "1", "--queues", "doomed", "--celery-hostname", "doomed"
    )
    before = sockets(celery)
    running = begun(celery, f"endings_{backend}", tmp_path)
    processes = running.processes()
    main = psutil.Process(doomed.pid)
    pool = main.children()
    assert running.supervisor in pool
    for process in (main, *pool):
        process.kill()
    check_all_gone(running, processes, "SIGKILL of the whole Celery worker", capsys)
    assert doomed.exit_code is not None
    assert sockets(celery) <= before
    celery.api.patch("dags", running.dag_id, "dagRuns", running.run_id, body={"state": "failed"})


def test_chunks_over_two_workers(celery: AirflowInstance) -> None:
    """Chunks run on two Celery workers, each fanned out where it runs; their results come back in one list in order."""
    second = celery.another("celery", *WORKER, "--concurrency", "1", "--celery-hostname", "second@%h")
    try:
        eventually(lambda: " ready." in second.log.read_text(), second.tail)
        run = celery.run_dag("chunks")
    finally:
        second.terminate()
        second.wait(60)
    assert run.ok, [celery.log(run.dag_id, run.run_id, task.task_id, task.map_index) for task in run.failed]
    assert [task.name for task in run.tasks if task.task_id == "square"] == [f"square[{place}]" for place in range(8)]
    joined = celery.xcom(run.dag_id, run.run_id, "join")
    assert [value for value, _ in joined] == [number * number + 1 for number in range(40)]
    assert {on_second for _, on_second in joined} == {True, False}
