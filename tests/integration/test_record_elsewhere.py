"""An Airflow whose XCom backend refuses the record of runs, and whose metrics go to StatsD."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.harness import AirflowInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness import DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DAG_FILE = Path(__file__).parent / "dag_files" / "record_elsewhere.py"
BACKEND = """
from airflow.sdk.bases.xcom import BaseXCom


class Refuses(BaseXCom):
    @staticmethod
    def serialize_value(value, *, key=None, **more):
        if key == "fan_out":
            raise RuntimeError("this storage takes no records")
        return BaseXCom.serialize_value(value, key=key, **more)
"""


class StatsD:
    """A StatsD server: a socket that keeps what it is sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self.lines += self._socket.recv(65536).decode().splitlines()
            except TimeoutError:
                continue

    def values(self, name: str, task_id: str) -> list[tuple[float, str]]:
        """Every value of a metric of a task, with its kind."""
        found = [re.fullmatch(rf"\w+\.{re.escape(name)},([^:]*):([\d.]+)\|(\w+)", line) for line in self.lines]
        return [(float(line[2]), line[3]) for line in found if line and f"task_id={task_id}" in line[1].split(",")]


@pytest.fixture(scope="module")
def statsd() -> Iterator[StatsD]:
    pytest.importorskip("airflow.sdk.observability.stats", reason="Airflow 3.1 has no metrics in a task's process")
    with StatsD() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(
    airflow_database: Path, tmp_path_factory: pytest.TempPathFactory, statsd: StatsD
) -> Iterator[AirflowInstance]:
    folder = tmp_path_factory.mktemp("elsewhere")
    modules, dags = folder / "modules", folder / "dags"
    for made in (modules, dags):
        made.mkdir()
    (modules / "refusing.py").write_text(BACKEND)
    shutil.copy(DAG_FILE, dags)
    metrics = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(statsd.port)}
    config = {
        "core": {"xcom_backend": "refusing.Refuses"},
        "metrics": {**metrics, "statsd_influxdb_enabled": "True"},
    }
    env = {"PYTHONPATH": str(modules)}
    with AirflowInstance(folder / "home", [dags], config=config, database=airflow_database, env=env) as instance:
        instance.wait_for_dags("record_elsewhere")
        yield instance
    assert not instance.leftovers()


@pytest.fixture(scope="module")
def run(airflow: AirflowInstance) -> DagRunResult:
    return airflow.run_dag("record_elsewhere")


def test_record_that_is_refused(airflow: AirflowInstance, run: DagRunResult) -> None:
    """A record that can't be written is one line in the log, and the run goes on."""
    assert run.task("refused").state == "success"
    assert len(airflow.xcom("record_elsewhere", run.run_id, "refused")) == 12
    assert airflow.xcom("record_elsewhere", run.run_id, "refused", key="fan_out") is None
    events = airflow.log_events("record_elsewhere", run.run_id, "refused")
    ours = [event for event in events if "could not be written" in event["event"]]
    assert [event["level"] for event in ours] == ["warning"]
    assert "RuntimeError: this storage takes no records" in ours[0]["event"]


def test_record_that_is_not_wanted(airflow: AirflowInstance, run: DagRunResult) -> None:
    """With record = False none is written, and none is missed."""
    assert run.task("unwanted").state == "success"
    assert airflow.xcom_keys("record_elsewhere", run.run_id, "unwanted") == ["return_value"]
    events = airflow.log_events("record_elsewhere", run.run_id, "unwanted")
    assert not [event for event in events if "could not be written" in event["event"]]


def test_metrics(statsd: StatsD, run: DagRunResult) -> None:
    """A run's figures come to StatsD by Airflow's own metrics, with the task's tags, whether it has a record or not."""
    of: Any = lambda name: statsd.values(f"joblib.{name}", "refused")  # noqa: E731
    assert of("items.done") == [(11, "c")]
    assert of("items.failed") == of("items.retried") == of("items.skipped") == [(1, "c")]
    ((milliseconds, kind),) = of("run.seconds")
    assert kind == "ms"
    assert 2_000 < milliseconds < 100_000
    seconds = of("item.seconds")
    assert len(seconds) == 13  # tries
    assert sum(value > 400 for value, _ in seconds) == 10
    assert statsd.values("joblib.items.done", "unwanted") == [(3, "c")]
    tagged = [line for line in statsd.lines if "joblib.run.seconds," in line]
    assert len(tagged) == 2
    assert all("dag_id=record_elsewhere" in line and "backend=multiprocessing" in line for line in tagged)
