"""What runs next: in which order, and how many items at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from airflow_joblib.fan_out.chunk_size import Sizes
from airflow_joblib.fan_out.host import Host
from airflow_joblib.fan_out.items import cut
from airflow_joblib.fan_out.resume import RunCheckpoint
from airflow_joblib.fan_out.scheduler import Scheduler
from airflow_joblib.fan_out.state import RunState
from airflow_joblib.options.options import Options
from airflow_joblib.pools.watchdog import Dead, LostWorkersError
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.chunk import ItemChunk
from airflow_joblib.wire.records import Report

if TYPE_CHECKING:
    from collections.abc import Sequence


def made_state(**options: Any) -> RunState:
    call, given, host = Call(abs), Options(**options), Host()
    return RunState(call, given, host, RunCheckpoint(call, given, host, 14))


def made(
    indices: Sequence[int],
    *,
    workers: int = 2,
    batch_size: int | Literal["auto"] = "auto",
    away: bool = False,
) -> Scheduler:
    """Return a scheduler of items that are their own positions; on a cluster, if *away*."""
    sizes = Sizes(batch_size, 1.6, 0.4) if away else Sizes(batch_size, 0.5)
    scheduler = Scheduler(made_state(), sizes, None)
    scheduler.start(list(cut(indices, indices, workers, sizes, None)), None)
    scheduler.workers = workers
    return scheduler


def ran(chunk: ItemChunk, seconds: float, count: int | None = None, *, unreadable: bool = False) -> Report:
    return Report(chunk.first, 1, list(chunk.indices[:count]), seconds=seconds, unreadable=unreadable)


def all_of(scheduler: Scheduler, each: float) -> list[int]:
    """Run all that there is, items that take *each* seconds, and return how many went at a time."""
    counts = []
    while (chunk := scheduler.next()) is not None:
        count = len(chunk.indices)
        counts.append(count)
        scheduler.learn(chunk, ran(chunk, count * each))
    return counts


def test_order() -> None:
    """What was begun goes before what was not, in the order of the input, and a retry between the two."""
    scheduler = made(range(4), batch_size=1)
    first, second = scheduler.next(), scheduler.next()
    assert first is not None
    assert second is not None
    scheduler._state.retries = made_state(item_retries=1, item_retry_delay=0.0).retries
    scheduler._state.retries.plan(7, "item", 1)
    scheduler.put_back([second, first])
    given = [chunk.indices for _ in range(5) if (chunk := scheduler.next()) is not None]
    assert [list(indices) for indices in given] == [[0], [1], [7], [2], [3]]
    assert scheduler.next() is None


def test_rest_of_a_chunk() -> None:
    """What a worker hands back comes again in even pieces, each item once."""
    scheduler = made(range(1000), workers=1)
    chunk = scheduler.next()
    assert chunk is not None
    assert len(chunk.indices) == 125
    scheduler.learn(chunk, ran(chunk, 0.5, 24))
    again = [scheduler.next() for _ in range(8)]
    indices = [index for piece in again if piece is not None for index in piece.indices]
    assert indices == list(range(24, 125))
    assert {len(piece.indices) for piece in again if piece is not None} == {13, 10}


def test_unreadable_chunk() -> None:
    """A chunk that could not be loaded as a whole comes again item by item."""
    scheduler = made(range(100), workers=1)
    chunk = scheduler.next()
    assert chunk is not None
    scheduler.learn(chunk, ran(chunk, 0.1, 0, unreadable=True))
    assert [list(piece.indices) for _ in chunk.indices if (piece := scheduler.next())] == [[n] for n in chunk.indices]


@pytest.mark.parametrize("workers", [2, 10])
@pytest.mark.parametrize("left", [10, 100])
def test_few_items_left_of_many(left: int, workers: int) -> None:
    """On a cluster no worker gets more than a quarter of its share, however many items an earlier try has done."""
    scheduler = made(range(5, 5000, 5000 // left), workers=workers, away=True)
    first = scheduler.next()
    assert first is not None
    assert len(first.indices) <= max(1, left // (4 * workers))


@pytest.mark.parametrize("count", [100, 5000, 100_000])
def test_chunks_of_a_cluster(count: int) -> None:
    """Chunks are worth a dispatch, and none takes so long that a worker hands it back, but the first if it must be."""
    seconds = [0.002 * size for size in all_of(made(range(count), away=True), 0.002)]
    assert sum(seconds) == pytest.approx(count * 0.002)
    assert max(seconds[1:], default=0) <= 1.2
    assert seconds[0] <= 2
    assert all(second >= 0.35 for second in seconds[1:-1])


def test_lazy_items() -> None:
    """Nothing more is drawn of a lazy input than what is given out, and its end tells the total."""
    drawn = []
    source = (drawn.append(item) or item for item in range(10))  # type: ignore[func-returns-value]
    scheduler = made(())
    scheduler.start([], source)
    first = scheduler.next()
    assert first is not None
    assert drawn == [0]
    assert scheduler._state.total is None
    scheduler.learn(first, ran(first, 1.0))
    assert sum(all_of(scheduler, 1.0)) == 9
    assert scheduler._state.total == 10


@pytest.mark.parametrize(("backend", "most"), [("spark", 10), ("loky", 1)])
def test_chunk_of_a_lost_worker(backend: str, most: int) -> None:
    """Where each piece is a dispatch to a cluster, what may have ended a worker is looked for in eighths."""
    chunk = ItemChunk(range(20, 100), range(20, 100))
    lost = LostWorkersError(backend, [Dead(0, None, 20, whole=True)], [chunk], goes_on=True)
    pieces = list(made_state().lose(lost))
    assert [index for piece in pieces for index in piece.indices] == list(range(20, 100))
    assert {len(piece.indices) for piece in pieces} == {most}
