"""An Airflow whose XCom backend refuses the record of runs, and whose traces and metrics go to OpenTelemetry."""

from __future__ import annotations

import gzip
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.harness import AirflowInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness import DagRunResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DAG_FILES = Path(__file__).parent / "dag_files"
BACKEND = """
from airflow.sdk.bases.xcom import BaseXCom


class Refuses(BaseXCom):
    @staticmethod
    def serialize_value(value, *, key=None, **more):
        if key == "fan_out":
            raise RuntimeError("this storage takes no records")
        return BaseXCom.serialize_value(value, key=key, **more)
"""


class Collector:
    """A collector: a server that keeps what it is sent by OTLP over HTTP, as protocol buffers.

    Attributes:
        url: Its address, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` takes it.
        spans: Every span so far.
        metrics: Every metric so far, once for each time it was sent.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        handler = type("Handler", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keep(self, path: str, body: bytes) -> None:
        """Decode a request."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        if path == "/v1/traces":
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [span for scope in of_process.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for of_process in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [metric for scope in of_process.scope_metrics for metric in scope.metrics]

    def points(self, name: str, task_id: str) -> list[Any]:
        """Every point of a metric of a task."""
        found = [metric for metric in self.metrics if metric.name == name]
        points = [point for metric in found for point in getattr(metric, metric.WhichOneof("data")).data_points]
        return [point for point in points if attributes(point).get("task_id") == task_id]


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.collector.keep(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def attributes(of: Any) -> dict[str, Any]:
    """The attributes of a span or a point."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def wait_for(found: Callable[[], list[Any]]) -> list[Any]:
    """Wait until the collector has something: a process may send it after its task is over."""
    until = time.monotonic() + 60
    while not found() and time.monotonic() < until:
        time.sleep(0.1)
    return found()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    pytest.importorskip("airflow.sdk.observability.stats", reason="Airflow 3.1 has no metrics in a task's process")
    pytest.importorskip("opentelemetry.proto", reason="This Airflow has no OpenTelemetry")
    with Collector() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(
    airflow_database: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[AirflowInstance]:
    folder = tmp_path_factory.mktemp("elsewhere")
    modules, dags = folder / "modules", folder / "dags"
    for made in (modules, dags):
        made.mkdir()
    (modules / "refusing.py").write_text(BACKEND)
    for name in ("open_telemetry", "record_elsewhere"):
        shutil.copy(DAG_FILES / f"{name}.py", dags)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "PYTHONPATH": str(modules),
    }
    config = {
        "core": {"xcom_backend": "refusing.Refuses"},
        "traces": {"otel_on": "True"},
        "metrics": {"otel_on": "True"},
    }
    with AirflowInstance(
        folder / "home", [dags], config=config, database=airflow_database, env=environment
    ) as instance:
        instance.wait_for_dags("open_telemetry", "record_elsewhere")
        yield instance
    assert not instance.leftovers()


@pytest.fixture(scope="module")
def runs(airflow: AirflowInstance) -> dict[str, DagRunResult]:
    """Give the runs of both DAGs, which run side by side."""
    run_ids = {dag_id: airflow.trigger(dag_id) for dag_id in ("open_telemetry", "record_elsewhere")}
    return {dag_id: airflow.wait(dag_id, run_id) for dag_id, run_id in run_ids.items()}


@pytest.fixture
def run(runs: dict[str, DagRunResult]) -> DagRunResult:
    return runs["record_elsewhere"]


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


def test_span(collector: Collector, runs: dict[str, DagRunResult]) -> None:
    """The span of the task has the figures of its run as attributes, beside Airflow's own."""
    assert runs["open_telemetry"].task("thumbnail").state == "success"
    name = "joblib.function"
    (span,) = wait_for(lambda: [each for each in collector.spans if attributes(each).get(name) == "thumbnail"])
    found = attributes(span)
    seconds = found.pop("joblib.run.seconds")
    assert 0 < seconds < 100
    assert {name: value for name, value in found.items() if name.startswith("joblib.")} == {
        "joblib.function": "thumbnail",
        "joblib.backend": "multiprocessing",
        "joblib.workers": 2,
        "joblib.items.total": 12,
        "joblib.items.done": 11,
        "joblib.items.failed": 1,
        "joblib.items.retried": 1,
        "joblib.items.skipped": 1,
        "joblib.items.earlier": 0,
    }


def test_metrics(collector: Collector, runs: dict[str, DagRunResult]) -> None:
    """The figures are metrics too, with the task's tags."""
    assert runs["open_telemetry"].task("thumbnail").state == "success"
    *_, done = wait_for(lambda: collector.points("airflow.joblib.items.done", "thumbnail"))  # sent again at the end
    assert done.as_int == 11
    assert attributes(done) == {"dag_id": "open_telemetry", "task_id": "thumbnail", "backend": "multiprocessing"}
    *_, took = collector.points("airflow.joblib.run.seconds", "thumbnail")
    *_, each = collector.points("airflow.joblib.item.seconds", "thumbnail")
    if took.DESCRIPTOR.name == "NumberDataPoint":  # Airflow 3.2 keeps the last time alone
        assert 0 < took.as_double < 100_000  # milliseconds
    else:
        assert took.count == 1
        assert 0 < took.sum < 100_000
        assert each.count == 13  # tries
