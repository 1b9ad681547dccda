"""The example DAGs, unchanged, on a local cluster of each engine, which the configuration alone asks for.

What they return is looked at by the same tests as under LocalExecutor alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.conftest import NEEDS
from tests.harness import AirflowInstance
from tests.harness.demo import DAGS, WORKERS
from tests.integration.test_examples import (
    DAG_IDS,
    test_example_succeeds,
    test_example_uses_the_workers_configured,
    test_fetch_prices_asks_again,
    test_fetch_prices_checks,
    test_fetch_prices_has_each_price,
    test_fetch_prices_keeps_the_rate,
    test_mapped_chunks_joins_in_order,
    test_process_files_counts_words,
    test_process_files_ranks,
    test_process_files_writes_to_a_folder_of_the_run,
    test_transform_records_aggregates,
    test_transform_records_converts_units,
    test_transform_records_keeps_order_and_marks_what_is_unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness import DagRunResult

__all__ = [
    "test_example_succeeds",
    "test_example_uses_the_workers_configured",
    "test_fetch_prices_asks_again",
    "test_fetch_prices_checks",
    "test_fetch_prices_has_each_price",
    "test_fetch_prices_keeps_the_rate",
    "test_mapped_chunks_joins_in_order",
    "test_process_files_counts_words",
    "test_process_files_ranks",
    "test_process_files_writes_to_a_folder_of_the_run",
    "test_transform_records_aggregates",
    "test_transform_records_converts_units",
    "test_transform_records_keeps_order_and_marks_what_is_unreadable",
]
pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(900)]
#: A task at a time, each with a cluster of its own, takes minutes: one engine by day. By day, too, other tests run the
#: other engines under a real Airflow: test_on_cluster, test_on_spark, test_endings_on_clusters.
_ENGINES = [pytest.param(name, marks=[] if name == "dask" else pytest.mark.nightly) for name in NEEDS]


@pytest.fixture(scope="module", params=_ENGINES)
def airflow(
    request: pytest.FixtureRequest, airflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowInstance]:
    """An Airflow whose configuration names the engine; one task at a time, as each has a cluster of its own."""
    engine: str = request.param
    pytest.importorskip(NEEDS[engine], reason=f"The engine {engine} is not installed.")
    environment = {"AIRFLOW__JOBLIB__N_JOBS": WORKERS, "AIRFLOW__JOBLIB__BACKEND": engine}
    home = tmp_path_factory.mktemp(engine)
    one = {"core": {"parallelism": "1"}}
    with AirflowInstance(home, [DAGS], env=environment, config=one, database=airflow_database) as instance:
        yield instance
    assert not instance.killed
    assert not instance.leftovers()


@pytest.fixture(scope="module")
def runs(airflow: AirflowInstance) -> dict[str, DagRunResult]:
    """One run of each example."""
    airflow.wait_for_dags(*DAG_IDS)
    started = {dag_id: airflow.trigger(dag_id) for dag_id in DAG_IDS}
    return {dag_id: airflow.wait(dag_id, run_id, timeout=600) for dag_id, run_id in started.items()}
