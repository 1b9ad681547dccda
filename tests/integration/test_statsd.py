"""A run's figures as Airflow's own metrics, which go to StatsD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import AirflowInstance
    from tests.integration.statsd import StatsD

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_metrics(airflow: AirflowInstance, add_dag: Callable[[str], str], statsd: StatsD) -> None:
    """A run's figures come to StatsD by Airflow's own metrics, with the task's tags, whether it has a record or not."""
    pytest.importorskip("airflow.sdk.observability.stats", reason="Airflow 3.1 has no metrics in a task's process")
    with statsd:
        assert airflow.run_dag(add_dag("record_elsewhere")).state == "success"
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
