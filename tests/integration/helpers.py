"""What several integration tests ask of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness import AirflowInstance, DagRunResult

__all__ = ["result"]


def result(airflow: AirflowInstance, run: DagRunResult, task_id: str, map_index: int = -1) -> Any:
    """What a task returned; its log as the failure message when it didn't succeed."""
    task = run.task(task_id, map_index)
    assert task.state == "success", airflow.log(run.dag_id, run.run_id, task_id, map_index, task.try_number)
    return airflow.xcom(run.dag_id, run.run_id, task_id, map_index)
