"""What is looked at when a task has been ended: its processes, and the traces of its items."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from tests.harness.processes import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from tests.harness import AirflowInstance

__all__ = [
    "LIMIT",
    "PROCESSES",
    "Running",
    "Slot",
    "begun",
    "check_all_gone",
    "check_none_went_on",
    "eventually",
    "items_begun",
    "runs",
    "seconds_to_end",
    "shared_memory",
    "sockets",
]

#: Seconds in which everything of an ended task has to be gone.
LIMIT = 5.0
PROCESSES = ("loky", "multiprocessing")
#: Seconds in which an item that goes on would have come to its end.
_ITEM = 1.5


class Slot:
    """The executor's worker that watches a task; its title says which."""

    def __init__(self, supervisor: psutil.Process) -> None:
        self._process = supervisor
        self._busy = describe(supervisor)

    def seconds(self, limit: float) -> float:
        """How long the task still has it; not beyond *limit*."""
        began = time.monotonic()
        while describe(self._process) == self._busy and time.monotonic() - began < limit:
            time.sleep(0.01)
        return time.monotonic() - began


class Running(NamedTuple):
    """A run of ``endings`` whose items are under way.

    Attributes:
        folder: Where items leave their traces.
        task: The task's process.
        supervisor: The process that watches it.
        slot: The executor's slot that it has.
        workers: The worker processes that have begun an item.
    """

    dag_id: str
    run_id: str
    folder: Path
    task: psutil.Process
    supervisor: psutil.Process
    slot: Slot
    workers: list[psutil.Process]

    def processes(self) -> list[psutil.Process]:
        """The task's process and everything below it."""
        return [self.task, *self.task.children(recursive=True)]

    def ended(self) -> int:
        """How many items have come to their end."""
        return len(list(self.folder.glob("*.ended")))


def begun(airflow: AirflowInstance, dag_id: str, folder: Path) -> Running:
    """Trigger a DAG of ``endings`` and wait until its items have begun."""
    return items_begun(airflow, dag_id, airflow.trigger(dag_id, conf={"folder": str(folder)}), folder)


def items_begun(airflow: AirflowInstance, dag_id: str, run_id: str, folder: Path) -> Running:
    """Wait until two items of a run have begun; of an asynchronous function, all thousand."""
    items = 1000 if dag_id.endswith("async") else 2
    eventually(lambda: len([*folder.glob("*.began")]) >= items, lambda: airflow.log(dag_id, run_id, "slow"))
    pids = sorted({int(trace.read_text()) for trace in folder.glob("*.began")})
    workers = [psutil.Process(pid) for pid in pids]
    backend = dag_id.rpartition("_")[2]
    between = 0 if backend == "loky" else 1  # what workers are forked from
    task = workers[0].parents()[between] if backend in {*PROCESSES, "early", "async"} else workers[0]
    assert task is not None
    supervisor = task.parent()
    assert supervisor is not None
    return Running(dag_id, run_id, folder, task, supervisor, Slot(supervisor), workers)


def eventually(happened: Callable[[], object], why_not: Callable[[], str] = str, timeout: float = 240) -> None:
    """Wait for something; an assertion fails, with *why_not*, when it doesn't happen."""
    until = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < until, why_not()
        time.sleep(0.02)


def seconds_to_end(processes: list[psutil.Process], limit: float = 3 * LIMIT) -> float:
    """How long it takes until none of them is left."""
    began = time.monotonic()
    while any(runs(process) for process in processes) and time.monotonic() - began < limit:
        time.sleep(0.02)
    return time.monotonic() - began


def runs(process: psutil.Process) -> bool:
    """Whether a process still does something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_all_gone(
    running: Running,
    processes: list[psutil.Process],
    how: str,
    capsys: pytest.CaptureFixture[str],
    *,
    again: bool = False,
) -> None:
    """None of the processes is left in time, nor what they shared; the slot is free.

    That no item goes on is seen by `check_none_went_on`, later; but for a task that runs *again*, which may have the
    same slot already.
    """
    seconds = seconds_to_end(processes)
    ended = running.ended()
    held = 0.0 if again else running.slot.seconds(3 * LIMIT)
    with capsys.disabled():
        print(f"\n{running.dag_id}, {how}: last process gone after {seconds:.2f} s, slot free {held:.2f} s later")
    assert seconds < LIMIT, [process for process in processes if runs(process)]
    assert held < LIMIT
    assert not shared_memory(process.pid for process in processes)
    if again:
        time.sleep(_ITEM)
        assert running.ended() == ended
    else:
        _over.append((running, ended))


#: Tasks that have ended, and how many of their items had come to their end by then.
_over: list[tuple[Running, int]] = []


def check_none_went_on() -> None:
    """No item of the tasks that have ended has come to its end since."""
    time.sleep(_ITEM)
    went_on = [running.dag_id for running, ended in _over if running.ended() != ended]
    _over.clear()
    assert not went_on


def shared_memory(pids: Iterable[int]) -> list[Path]:
    """What a run has in shared memory for processes, joblib's folders of arrays and loky's semaphores among it."""
    kinds = (("airflow-joblib-", "-*"), ("joblib_memmapping_folder_", "_*"), ("sem.loky-", "-*"))
    names = [f"{name}{pid}{end}" for pid in pids for name, end in kinds]
    return [path for name in names for path in Path("/dev/shm").glob(name)]


def sockets(airflow: AirflowInstance) -> set[Path]:
    """The folders of sockets in the instance's own folder for temporary files."""
    return set((airflow.home / "tmp").glob("airflow-joblib-*"))
