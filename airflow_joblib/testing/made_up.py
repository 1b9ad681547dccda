"""A made-up DAG run, and the real context that Airflow makes of it for a task."""

from __future__ import annotations

import difflib
import math
import uuid
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator, Context

from airflow_joblib.taskflow import airflow_internals

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DagRun", "instances", "made_up_task"]

_DATE = datetime(2026, 1, 1, tzinfo=UTC)
_MOMENTS = ("logical_date", "data_interval_start", "data_interval_end")
#: What can be given besides what a context has.
_MORE = ("conf", "dag_id", "map_index", "task_id", "try_number")


class DagRun:
    """A DAG run that was started by hand, of which no database knows.

    Args:
        given: What a test wants the context to have; the rest is made up.

    Raises:
        TypeError: A context has nothing of that name, or a point in time is none.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        _check_names(given)
        moments = {name: _moment(name, given[name]) for name in _MOMENTS if name in given}
        self._given: dict[str, Any] = {**given, **moments}
        self.date: datetime | None = self._given.get("logical_date", _DATE)
        self.run_id = str(given.get("run_id") or f"manual__{(self.date or _DATE).isoformat()}")
        self.map_index = int(given.get("map_index", -1))

    def task_instance(self, task: Any, map_index: int | None = None) -> Any:
        """Return what Airflow has for a task while it runs."""
        try_number = int(self._given.get("try_number", 1))
        return _kind().model_construct(
            given={name: value for name, value in self._given.items() if name not in _MORE},
            id=uuid.uuid4(),  # each try has one of its own
            task_id=task.task_id,
            dag_id=task.dag_id,
            run_id=self.run_id,
            try_number=try_number,
            map_index=self.map_index if map_index is None else map_index,
            dag_version_id=uuid.uuid4(),
            hostname="localhost",
            task=task,
            bundle_instance=None,
            _ti_context_from_server=self._from_server(task.dag_id, try_number),
            max_tries=try_number,
            start_date=datetime.now(UTC),
            state="running",
        )

    def _from_server(self, dag_id: str, try_number: int) -> Any:
        date = self.date
        run: dict[str, Any] = {
            "dag_id": dag_id,
            "run_id": self.run_id,
            "logical_date": date,
            "data_interval_start": self._given.get("data_interval_start", date),
            "data_interval_end": self._given.get("data_interval_end", date),
            "run_after": date or _DATE,
            "start_date": date or _DATE,
            "end_date": None,
            "run_type": "manual",
            "state": "running",
            "conf": {**(self._given.get("params") or {}), **(self._given.get("conf") or {})},
            "consumed_asset_events": [],
            "partition_key": self._given.get("partition_key"),
        }
        model = airflow_internals.DagRunModel
        dag_run = model.model_validate({name: run[name] for name in run if name in model.model_fields})
        return airflow_internals.TIRunContext(dag_run=dag_run, max_tries=try_number, should_retry=False)


@cache
def _kind() -> Any:
    """Return Airflow's class of task instances, but that what the test gives is on top of each context."""

    class TaskInstance(airflow_internals.RuntimeTaskInstance):  # type: ignore[misc, name-defined]
        given: Any

        def get_template_context(self) -> Any:
            """Return the one context that a task instance has, which Airflow sets up again at each call."""
            context: Any = super().get_template_context()
            given = self.given
            if "params" in given:  # those that the DAG has of its own are there too
                given = {**given, "params": {**context["params"], **given["params"]}}
            context.update(given)
            return context

    return TaskInstance


def made_up_task(given: Mapping[str, Any]) -> Any:
    """Return the task that a test is in which runs none of its own."""
    params: Any = dict(given.get("params") or {})
    dag = DAG(str(given.get("dag_id", "unit_test")), schedule=None, params=params)
    return BaseOperator(task_id=str(given.get("task_id", "task")), dag=dag)


def instances(task: Any) -> int | None:
    """Return how many instances a mapped task has; None if it isn't mapped, or a task upstream decides it."""
    found = getattr(task, "op_kwargs_expand_input", None) or getattr(task, "expand_input", None)
    over = getattr(found, "value", None)
    if isinstance(over, list | tuple):  # of expand_kwargs
        return len(over)
    if not isinstance(over, dict) or not all(isinstance(each, list | tuple | dict) for each in over.values()):
        return None
    return math.prod(len(each) for each in over.values())


def _check_names(given: Mapping[str, Any]) -> None:
    known = sorted({*Context.__annotations__, *_MORE})
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."
            msg = f"The context of a task has no {name!r}. {hint}"
            raise TypeError(msg)


def _moment(name: str, given: Any) -> datetime | None:
    """Return a point in time, of a text too; in UTC where it has no time zone."""
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) else given
        return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
    except (AttributeError, TypeError, ValueError):
        msg = f"{name} is {given!r}. Give a datetime, a text such as '2026-01-01T06:00:00+00:00', or None."
        raise TypeError(msg) from None
