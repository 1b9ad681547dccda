"""What the task's process does for its worker processes while a run lasts."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.fan_out.host import Host
from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.relay import worker_setup
from airflow_joblib.taskflow.relay.worker_setup import Steps
from airflow_joblib.taskflow.task import masks, xcom
from airflow_joblib.worker.process import inside_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.checkpoint import Folder
    from airflow_joblib.fan_out.host import ClusterServices, Figures, RunDisplay
    from airflow_joblib.wire.call import Call

__all__ = ["Task", "inside_task", "of_this_process", "use"]


def inside_task() -> bool:
    """Return whether this process runs a task, with a supervisor that answers requests."""
    if airflow_internals.supervisor() is None:
        return False
    airflow_internals.check(load=True)  # all that a run will need, before its first item
    return True


class Task(Host):
    """The Airflow task that a run happens in."""

    @contextmanager
    def services(self) -> Iterator[Callable[[], None]]:
        """Serve worker processes for the length of a run: their requests for Airflow, and their logs."""
        from airflow_joblib.taskflow.logs import task_log
        from airflow_joblib.taskflow.logs.worker import Logs
        from airflow_joblib.taskflow.relay.answers import Answers
        from airflow_joblib.taskflow.relay.server import Relay

        with Relay(Answers(airflow_internals.supervisor()), task_log.TaskLog().take) as relay:
            logs = Logs(relay.address, relay.key, os.getpid(), task_log.levels())
            yield Steps((worker_setup.Prepare(relay.address, relay.key, _context()), logs))

    def before_fork(self) -> None:
        """Import what worker processes need of the task, so that each forked one has it."""
        from airflow_joblib.taskflow.logs import worker, worker_structlog  # noqa: F401
        from airflow_joblib.taskflow.relay import framing, supervisor_proxy, worker_context  # noqa: F401

    def cluster_services(
        self,
        engine: str,
        channel: Callable[[Callable[[bytes], bytes]], AbstractContextManager[Callable[[bytes], bytes] | None]],
    ) -> AbstractContextManager[ClusterServices]:
        """Serve the workers of a cluster for the length of a run: their requests for Airflow, and their logs."""
        from airflow_joblib.taskflow.cluster.task_side import cluster_services

        return cluster_services(engine, channel, airflow_internals.supervisor(), _context())

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """Watch a run in the task's process: end it from outside, mark its threads' records, queue their requests."""
        from airflow_joblib.taskflow.logs import task_log
        from airflow_joblib.taskflow.task import termination
        from airflow_joblib.taskflow.task.supervisor_lock import requests_in_turn

        with termination.watched() as check, task_log.item_marks(), requests_in_turn():
            yield check

    def result_check(self, call: Call) -> Callable[[int, object], str | None] | None:
        """Return a check of whether a result fits the task's XCom; None where the results will not be that."""
        return xcom.check_of(call.function)

    def size_of(self, call: Call, values: Sequence[Any]) -> int | None:
        """Return about how many bytes the results will have as an XCom; None where they will not be one."""
        return xcom.size(values) if xcom.are_xcom(call.function) else None

    def publish_failures(self, records: list[Mapping[str, Any]]) -> None:
        """Push the records of the failed items as the XCom ``failures``."""
        xcom.publish_failures(records)

    def run_display(self) -> RunDisplay | None:
        """Return what shows a run in the XCom ``fan_out``."""
        from airflow_joblib.taskflow.task import run_display

        return run_display.run_display()

    def measure(self, figures: Figures) -> None:
        """Send the figures of a run by Airflow's metrics, and to the span of the task."""
        from airflow_joblib.taskflow.task import metrics

        metrics.measure(figures)

    def hides(self, name: str) -> bool:
        """Return whether Airflow takes what goes by *name* for a secret."""
        return bool(airflow_internals.should_hide_value_for_key(name))

    def mask(self, text: str) -> str:
        """Return a text with the secrets masked that the task knows."""
        return masks.mask(text)

    def keep_secret(self, secret: str) -> None:
        """Have a text masked from now on in all that the task logs and publishes."""
        airflow_internals.mask_secret(secret)

    def shows_notes(self) -> bool:
        """Return whether an item of another fan-out takes the exception: a task's log and UI show no notes."""
        return inside_worker()

    def is_whole_task(self, call: Call) -> bool:
        """Return whether this run is all that the task does."""
        return xcom.is_whole_task(call.function)

    def when_succeeded(self, act: Callable[[], object]) -> None:
        """Act once the task has succeeded or was skipped: its XCom has yet to be pushed, and more may follow."""
        xcom.when_succeeded(act)

    def call_off(self) -> None:
        """Let nothing be done once the task has succeeded that a run of this try was to have done then."""
        xcom.call_off()

    def checkpoint_folder(self, where: str | None) -> Folder:
        """Return this task instance's own folder for finished items."""
        from airflow_joblib.taskflow.task import checkpoint_folder

        return checkpoint_folder.folder(where)

    def connection(self, backend: str, conn_id: str) -> Mapping[str, Any]:
        """Return the options of a backend that an Airflow connection holds."""
        from airflow_joblib.taskflow.task import cluster_connection

        return cluster_connection.options_of(backend, conn_id)


_of_test: Task | None = None


def use(host: Task | None) -> None:
    """Have runs of this process find this host from now on; None for the task's own. For unit tests."""
    global _of_test  # noqa: PLW0603 - a process runs one test at a time
    _of_test = host


def of_this_process() -> Task:
    """Return the host of a run in this process: the task."""
    return Task() if _of_test is None or inside_worker() else _of_test


def _context() -> dict[str, bytes] | None:
    from airflow_joblib.taskflow.relay.worker_context import task_context, travelling

    return travelling(worker_context) if (worker_context := task_context()) is not None else None
