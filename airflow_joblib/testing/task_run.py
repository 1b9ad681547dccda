"""``task``: what runs in its ``with`` runs as in a task under an executor."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from airflow_joblib.options import every_run
from airflow_joblib.options.backends import backend_named
from airflow_joblib.system import socket_folder
from airflow_joblib.taskflow import airflow_internals, airflow_restored
from airflow_joblib.taskflow.task import host
from airflow_joblib.testing import captured_log, database, made_up, whole_task
from airflow_joblib.testing.host import UnitTest
from airflow_joblib.testing.in_worker import InWorker, begun, kill_file
from airflow_joblib.testing.leftovers import Before
from airflow_joblib.testing.store import Store, XComPlace
from airflow_joblib.testing.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_joblib.testing.store import GivenConnection

__all__ = ["TaskRun", "task"]

_NESTED = (
    "airflow_joblib.testing.task is in use already, or this is a task: there is one task in a process at a time. Leave "
    "the outer with before, or run both functions in it."
)
_NO_PROCESSES = "--fan-out={} has no worker processes, of which one could be killed."
_NOT_KILLED = (
    "no worker process began item {}, at which one was to be killed: there are fewer items, or they ran in threads, in "
    "the test's own process, or on a cluster"
)


_LEFT, _UNMET = "The run has left something behind:", "A worker was to be killed, and none was:"
_NO_ITEM = "kill_worker(item={}): the position of an item in the input is 0 or more."
_NO_TASK = (
    "run.execute takes an operator, such as dag.get_task({!r}), or what the call of a task has returned; this is a {}."
)
_NO_INSTANCE = "The task {!r} has {} mapped instances, so map_index can't be {}."


class _XComs(dict[str, Any]):
    def __missing__(self, key: str) -> list[Any]:
        if key == "failures":
            return []
        raise KeyError(key)


class TaskRun:
    """The task that a test is in. Made by :func:`task`.

    Attributes:
        logs: What the task's log has, of the task and its workers: mappings with ``event``, ``level``, ``logger``,
            ``timestamp``, the ``item`` where one ran, and whatever else was logged. Secrets are masked.
    """

    def __init__(self, store: Store, run: made_up.DagRun, ti: Any, folder: Path, logs: list[dict[str, Any]]) -> None:
        """Strictly private."""
        self.logs = logs
        self._store = store
        self._run = run
        self._ti = self._made_up = ti
        self._folder = folder
        self._kills: set[int] = set()

    def kill_worker(self, *, item: int) -> None:
        """Have the worker that begins an item killed by SIGKILL, once; to be called before the fan-out.

        Where no worker process begins the item, the ``with`` ends in an AssertionError. In a session that runs every
        fan-out without processes (``--fan-out``) the test is skipped.

        Args:
            item: Position in the input.

        Raises:
            ValueError: There is no such position.
        """
        if item < 0:
            raise ValueError(_NO_ITEM.format(item))
        forced = every_run.backend()
        if forced is not None and not backend_named(forced).processes:
            raise SkipTest(_NO_PROCESSES.format(forced))
        self._kills.add(item)
        kill_file(self._folder, item).touch()

    @property
    def xcoms(self) -> dict[str, Any]:
        """What the task has pushed, by key, serialized and loaded again as for a task downstream.

        ``xcoms["failures"]`` is an empty list where no failures were to be tolerated, and so none were pushed.
        """
        ti = self._ti
        place = XComPlace(ti.dag_id, ti.run_id, ti.task_id, "")
        result = airflow_internals.message("XComResult")
        found = self._store.of_task(place, ti.map_index)
        return _XComs(
            (key, airflow_internals.XCom.deserialize_value(result(key=key, value=value)))
            for key, value in found.items()
        )

    def execute(self, task: Any, *, upstream: Mapping[str, Any] | None = None, map_index: int = -1) -> Any:
        """Run a whole task: its operator, templates, callbacks, and XComs in and out.

        Args:
            task: An operator of a DAG, such as ``dag.get_task("thumbnail")``, or what its call returned.
            upstream: What tasks upstream have returned, by their ids; besides what was executed here before.
            map_index: Which instance of a mapped task.

        Returns:
            What a task downstream gets. :attr:`xcoms` is about this task from now on.

        Raises:
            Exception: What the task has raised; AirflowSkipException, if it was skipped.
            IndexError: A mapped task has fewer instances, as far as the DAG file tells.
            TypeError: It is no task.
        """
        task = getattr(task, "operator", task)
        _check_task(task, map_index)
        self._ti = self._run.task_instance(task, map_index)
        self._store.own_run = task.dag_id, self._run.run_id
        for task_id, value in (upstream or {}).items():
            whole_task.push(self._ti, task_id, value)
        whole_task.run(self._ti, self._ti.get_template_context())
        return self.xcoms.get("return_value")

    def _in_workers(self) -> InWorker:
        return InWorker(str(self._folder), frozenset(self._kills))

    def _push(self, results: list[Any]) -> None:
        self._ti = self._made_up
        self._ti.xcom_push(key="return_value", value=results)

    def _unmet(self) -> list[str]:
        return [_NOT_KILLED.format(item) for item in sorted(self._kills) if kill_file(self._folder, item).exists()]


@contextmanager
def task(
    *,
    variables: Mapping[str, Any] | None = None,
    connections: Mapping[str, GivenConnection] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Iterator[TaskRun]:
    """Run what is in the ``with`` as in a task under an executor.

    Workers are real, and reach Variables, Connections and XComs only by way of the task; what is not given here is
    missing, as it would be there. The metadata database is out of reach. The real context, log and masks apply. All of
    it is as before afterwards.

    Args:
        variables: Values by key; what is no text becomes JSON.
        connections: By id: a URI, a mapping of fields, or a Connection.
        context: What the context has, as ``run_id``, ``logical_date``, ``params``, ``ds``, or what it is made of:
            ``dag_id``, ``task_id``, ``try_number``, ``map_index``, ``conf``.

    Raises:
        AssertionError: A worker, socket, folder or shared memory of a run was left; or a worker that was to be killed
            was not.
        RuntimeError: It is in use already.
        TypeError: A context has nothing of a name that is given, or a connection has no such field.
    """
    airflow_internals.check_for_testing()  # which loads what a task's process has loaded
    if airflow_internals.supervisor() is not None:
        raise RuntimeError(_NESTED)
    store = Store.of(variables, connections)
    made_up_run = made_up.DagRun(context or {})
    folder = socket_folder.make("kit")
    try:
        before = Before(folder)
        with _in_place(store, made_up_run, context or {}, folder) as run:
            yield run
        _check({_LEFT: before.left(begun(folder)), _UNMET: run._unmet()})  # noqa: SLF001 - this module's own
    finally:
        socket_folder.remove(folder)


def _check_task(task: Any, map_index: int) -> None:
    if not hasattr(task, "task_id"):
        raise TypeError(_NO_TASK.format(task if isinstance(task, str) else "thumbnail", type(task).__name__))
    count = made_up.instances(task)
    if count is not None and map_index >= count:
        raise IndexError(_NO_INSTANCE.format(task.task_id, count, map_index))


def _check(problems: Mapping[str, list[str]]) -> None:
    if told := ["\n- ".join([heading, *found]) for heading, found in problems.items() if found]:
        raise AssertionError("\n".join(told))


@contextmanager
def _in_place(store: Store, made_up_run: made_up.DagRun, given: Mapping[str, Any], folder: Path) -> Iterator[TaskRun]:
    """Put everything in its place that a task has around it."""
    with ExitStack() as stack:
        stack.enter_context(database.out_of_reach())
        stack.enter_context(airflow_restored.masks_restored())
        log = stack.enter_context(captured_log.captured())
        stack.enter_context(airflow_restored.lent_supervisor(Supervisor(store)))
        ti = made_up_run.task_instance(made_up.made_up_task(given))
        store.own_run = ti.dag_id, ti.run_id
        stack.enter_context(airflow_restored.lent_context(ti.get_template_context()))
        run = TaskRun(store, made_up_run, ti, folder, log.records)
        host.use(UnitTest(ti, run._in_workers, run._push))  # noqa: SLF001 - this module's own
        stack.callback(host.use, None)
        with _called_back(ti):
            yield run


@contextmanager
def _called_back(ti: Any) -> Iterator[None]:
    """Call what fan-outs have registered to be called when the task is over."""
    name = "on_failure_callback"
    try:
        yield
        name = "on_success_callback"
    finally:
        for act in getattr(ti.task, name, None) or ():
            act(ti.get_template_context())
