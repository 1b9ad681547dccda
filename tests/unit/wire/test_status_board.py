"""The board: what each worker process runs, seen by the task, whatever becomes of either."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.wire.status_board import _ROWS, INDEX, SINCE, Running, Slot, StatusBoard
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def board() -> Iterator[StatusBoard]:
    with StatusBoard() as board:
        yield board


def claim(path: str, item: int, over: Any) -> None:
    slot = Slot(path)
    slot.row[SINCE] = item * 10
    slot.row[INDEX] = item + 1
    over.wait(120)


def test_processes_have_rows_of_their_own(board: StatusBoard) -> None:
    """Processes that claim a row at the same time get one each, and the task sees what each of them runs."""
    over = FORK.Event()
    workers = [FORK.Process(target=claim, args=(board.path, item, over)) for item in range(20)]
    for worker in workers:
        worker.start()
    try:
        assert eventually(lambda: len(board.running()) == 20, 60)
        expected = {worker.pid: Running(item, item * 10) for item, worker in enumerate(workers)}
        assert board.running() == expected
    finally:
        over.set()
        for worker in workers:
            worker.join(60)
    assert board.running() == expected, "what a process ran when it ended is not forgotten"


def test_between_two_chunks(board: StatusBoard) -> None:
    """A worker that runs no item is not among those that do."""
    slot = Slot(board.path)
    assert board.running() == {}
    slot.row[INDEX] = 1
    assert board.running() == {os.getpid(): Running(0, 0)}
    slot.row[INDEX] = 0
    assert board.running() == {}


def test_halt(board: StatusBoard) -> None:
    """Either side asks all to start no further item; the task takes it back."""
    one, other = Slot(board.path), Slot(board.path)
    assert not one.halted
    one.halt()
    assert other.halted
    board.halt(on=False)
    assert not one.halted
    board.halt()
    assert one.halted


def test_more_workers_than_rows(board: StatusBoard) -> None:
    """A worker beyond the last row runs unseen, and is still halted."""
    slots = [Slot(board.path) for _ in range(3)]
    board._cells[0] = _ROWS
    beyond = Slot(board.path)
    beyond.row[INDEX] = 7
    assert board.running() == {}
    slots[0].halt()
    assert beyond.halted


@pytest.mark.parametrize(
    "path", ["", "/nowhere/board", f"/proc/{os.getpid()}/fd/99999"], ids=["none", "gone", "closed"]
)
def test_no_memory_to_share(path: str) -> None:
    """Where the task's memory can't be reached, the worker has a row and a flag that nobody reads."""
    slot = Slot(path)
    slot.row[INDEX] = 5
    slot.halt()
    assert slot.halted
    assert slot.row[INDEX] == 5


def test_task_has_ended() -> None:
    """A worker goes on with its row after the task has closed the board, and a later one finds nothing to claim."""
    with StatusBoard() as board:
        slot = Slot(board.path)
    slot.row[INDEX] = 3
    slot.halt()
    assert slot.halted
    assert not Slot(board.path).halted


def test_file_is_closed() -> None:
    """The task's end of the board is closed with it."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with StatusBoard():
            time.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
