"""What several integration tests ask of a run."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness import AirflowInstance, DagRunResult

__all__ = ["AIRFLOW", "check_books", "result"]

#: Major and minor version of the Airflow that is installed.
AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))

STOCK = {"apples": 2000, "bread": 1000, "cheese": 500, "dates": 300}
PRICES = {"apples": 25, "bread": 310, "cheese": 480, "dates": 95}
REFUSED = 12  # every fiftieth of 600


def result(airflow: AirflowInstance, run: DagRunResult, task_id: str, map_index: int = -1) -> Any:
    """What a task returned; its log as the failure message when it didn't succeed."""
    task = run.task(task_id, map_index)
    assert task.state == "success", airflow.log(run.dag_id, run.run_id, task_id, map_index, task.try_number)
    return airflow.xcom(run.dag_id, run.run_id, task_id, map_index)


def check_books(airflow: AirflowInstance, run: DagRunResult) -> None:
    """In the database example every order was booked once, to the last unit and cent, by more than one worker."""
    orders, results, checked = (result(airflow, run, name) for name in ("collect_orders", "book", "check"))
    assert [booked["order"] for booked in results] == [order["id"] for order in orders]
    assert [booked["booked"] for booked in results] == [order["units"] < 10_000 for order in orders]
    left, cents = dict(STOCK), 0
    for order in orders:
        booked = order["units"] if order["units"] < 10_000 else 0
        left[order["product"]] -= booked
        cents += booked * PRICES[order["product"]]
    assert checked == {"booked": len(orders) - REFUSED, "refused": REFUSED, "left": left, "cents": cents}
    assert len({booked["worker"] for booked in results}) > 1
