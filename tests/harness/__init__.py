"""A real Airflow, started for a test or a demo and gone again afterwards.

Needs nothing beyond what the library itself depends on, so that ``python -m tests.harness.demo`` runs anywhere.
"""

from tests.harness.instance import AirflowInstance, HarnessError
from tests.harness.results import DagRunResult, TaskResult

__all__ = ["AirflowInstance", "DagRunResult", "HarnessError", "TaskResult"]
