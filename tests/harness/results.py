"""What the harness reports about a run, as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DagRunResult", "TaskResult", "in_order", "plain"]

_NEVER = datetime.max.replace(tzinfo=UTC)
_COLLECTIONS = {"builtins.tuple": tuple, "builtins.set": set, "builtins.frozenset": frozenset}


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task instance, as the API tells of it.

    Attributes:
        task_id: Name of the task, its task group's included.
        map_index: Position among mapped instances, -1 for a task that isn't mapped.
        state: Airflow's word for it; None when it was never scheduled.
        try_number: The last try, counted from 1.
        start: When that try started.
        end: When it ended.
    """

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    start: datetime | None
    end: datetime | None

    @classmethod
    def from_api(cls, answer: dict[str, Any]) -> TaskResult:
        """Read what ``GET .../taskInstances`` says of one instance."""
        return cls(
            task_id=answer["task_id"],
            map_index=answer["map_index"],
            state=answer["state"],
            try_number=answer["try_number"],
            start=_moment(answer["start_date"]),
            end=_moment(answer["end_date"]),
        )

    @property
    def seconds(self) -> float | None:
        """How long the last try took; None while it isn't over."""
        return (self.end - self.start).total_seconds() if self.start and self.end else None

    @property
    def name(self) -> str:
        """The task's name, with the position of a mapped instance."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True, slots=True)
class DagRunResult:
    """A DAG run that is over.

    Attributes:
        dag_id: The DAG.
        run_id: The run.
        state: ``success`` or ``failed``.
        tasks: Every task instance, in the order the tasks started, mapped instances by position.
    """

    dag_id: str
    run_id: str
    state: str
    tasks: tuple[TaskResult, ...]

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state == "success"

    @property
    def failed(self) -> tuple[TaskResult, ...]:
        """Instances that failed themselves, not for what came before them."""
        return tuple(task for task in self.tasks if task.state == "failed")

    def task(self, task_id: str, map_index: int = -1) -> TaskResult:
        """Find one task instance."""
        return next(task for task in self.tasks if (task.task_id, task.map_index) == (task_id, map_index))


def in_order(found: Iterable[TaskResult]) -> tuple[TaskResult, ...]:
    """Task instances in the order in which their tasks started, those of one task by position."""
    tasks = list(found)
    starts: dict[str, datetime] = {}
    for task in tasks:
        start = task.start or _NEVER
        starts[task.task_id] = min(start, starts.get(task.task_id, start))
    return tuple(sorted(tasks, key=lambda task: (starts[task.task_id], task.task_id, task.map_index)))


def plain(value: Any) -> Any:
    """Turn an XCom as stored into plain Python: an object of a DAG file's class becomes the dict of its fields."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__classname__" not in value:
        return {key: plain(item) for key, item in value.items()}
    data = plain(value.get("__data__"))
    collection = _COLLECTIONS.get(value["__classname__"])
    return collection(data) if collection else data


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
