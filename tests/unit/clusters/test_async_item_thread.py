"""Chunks of an asynchronous function in a worker of a cluster, where no cluster is needed to see it."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.clusters import worker
from airflow_joblib.clusters.item_thread import RunOverError
from airflow_joblib.pickling import dumps
from airflow_joblib.system import clock
from airflow_joblib.system.clock import pause
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import Payload, Rules
from airflow_joblib.worker.async_worker import AsyncWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_joblib.wire.records import Report

#: What items of the tests wait for, by its name.
arrived: dict[str, threading.Event] = {}


async def work(item: Any) -> Any:
    """Wait for an event, or set one; or sleep, or raise. Gives the item and the thread."""
    match item:
        case ("wait", str(name)):
            while not arrived[name].is_set():  # noqa: ASYNC110 - it may be set in another thread
                await asyncio.sleep(0.005)
        case ("set", str(name)):
            arrived[name].set()
        case ("sleep", float(seconds)):
            await asyncio.sleep(seconds)
        case ("raise", float(seconds)):
            await asyncio.sleep(seconds)
            raise LookupError(item)
    return item, threading.get_ident()


#: Numbers of runs, none of which may come again.
numbers = itertools.count()


@pytest.fixture(autouse=True)
def _left() -> Iterator[None]:
    arrived.clear()
    arrived.update(first=threading.Event(), second=threading.Event())
    yield
    for name in list(worker._runs):
        worker.leave(name)


def payload(**rules: Any) -> Payload:
    """What the workers of a run get."""
    given = Rules(**{"concurrency": 4, "strict": False, **rules})
    return Payload(dumps(Call(work)), dumps([]), rules=given, run=f"run {next(numbers)}")


def run(given: Payload, items: Sequence[Any], first: int, has_room: Callable[[], object] = bool) -> Report:
    """Run a chunk, as the engine's thread does."""
    data = worker.run_chunk(given.run, given, dumps(items), range(first, first + len(items)), has_room)
    report: Report = pickle.loads(data)
    return report


def test_next_chunk_joins() -> None:
    """Items of the next chunk run beside one of the last that waits for them, on the same loop; no second is twice."""
    given, room, began = payload(), threading.Event(), clock.now()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(run, given, [("wait", "second"), 1, 2], 0, room.set)
        assert room.wait(20)
        second = run(given, [3, ("sleep", 0.1), ("set", "second")], 3)
        last = first.result(20)
    elapsed = clock.now() - began
    assert [value for value, _ in last.values] == [("wait", "second"), 1, 2]
    assert [value for value, _ in second.values] == [3, ("sleep", 0.1), ("set", "second")]
    assert len({thread for report in (last, second) for _, thread in report.values}) == 1
    assert 0.1 <= last.seconds + second.seconds <= elapsed
    assert (last.positions, second.positions) == (None, None)


def test_no_second_is_lost() -> None:
    """What the reports tell of a worker's time is all of it, also where the chunk that came later ends first."""
    given, room = payload(), threading.Event()
    with ThreadPoolExecutor() as threads:
        began = clock.now()
        first = threads.submit(run, given, [("sleep", 0.6)], 0, room.set)
        assert room.wait(20)
        pause(0.2)
        second = run(given, [("sleep", 0.1)], 1)
        last = first.result(20)
    elapsed = clock.now() - began
    assert 0.6 <= second.seconds + last.seconds <= elapsed
    assert second.began + second.seconds <= last.began + 0.001


def test_no_more_than_asked_for() -> None:
    """The next chunk comes when less waits than runs, and its items start as others end."""
    given, room = payload(concurrency=2), threading.Event()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(run, given, [("wait", "first"), ("wait", "first"), 2, 3, 4], 0, room.set)
        assert not room.wait(0.1)  # three wait, and two run
        arrived["first"].set()
        assert [value for value, _ in first.result(20).values][2:] == [2, 3, 4]


def test_cancelled_items_are_not_reported() -> None:
    """A failure that ends the run: a report has the items that have ended, by their positions, and no other."""
    items = [("sleep", 60.0), 1, ("sleep", 60.0), 3, ("raise", 0.05)]
    report = run(payload(concurrency=5, strict=True), items, 10)
    assert report.positions == [11, 13, 14]
    assert [value and value[0] for value in report.values] == [1, 3, None]
    assert [failure.index for failure in report.failures] == [14]


def test_the_rest_is_handed_back() -> None:
    """After its seconds a chunk's items start no more, and those that run are awaited."""
    given = payload(concurrency=2, seconds=0.1)
    report = run(given, [("sleep", 0.06)] * 50, 0)
    assert 2 <= len(report.values) < 50
    assert report.positions is None
    (thread,) = worker._runs[given.run]._threads
    assert not thread._worker._chunks._by_index


def test_a_chunk_that_waits_is_not_handed_back() -> None:
    """Its time begins with its first item, however long that has waited for those of another chunk."""
    given, room = payload(concurrency=1, seconds=0.1), threading.Event()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(run, given, [("sleep", 0.5)], 0, room.set)
        assert room.wait(20)
        assert [value for value, _ in run(given, [1, 2], 1).values] == [1, 2]
        assert len(first.result(20).values) == 1


def test_a_chunk_after_a_failure() -> None:
    """What comes when a failure has ended the run goes back as it came."""
    given = payload(strict=True)
    assert run(given, [("raise", 0.01)], 0).failures
    report = run(given, [1, 2], 1)
    assert (report.values, report.failures) == ([], [])


class Unpicklable:
    """What can't be sent, by an exception that is none of Python's usual ones."""

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt("as it is pickled")


async def unpicklable(_: object) -> Any:
    return Unpicklable()


def test_result_that_interrupts_its_pickling() -> None:
    """Whoever waits for the report gets the error."""
    given = payload()._replace(call=dumps(Call(unpicklable)))
    with pytest.raises(KeyboardInterrupt):
        run(given, [1], 0)


def plain(item: Any) -> Any:
    return item


def test_item_threads_of_many_threads() -> None:
    """However many threads an engine has, each of ours has one chunk at a time, and all are left in the end."""
    for _ in range(20):
        given = payload(concurrency=0)._replace(call=dumps(Call(plain)))
        with ThreadPoolExecutor(4) as threads:
            chunks = [threads.submit(run, given, [number], number) for number in range(40)]
            assert [value for chunk in chunks for value in chunk.result(20).values] == list(range(40))
        ours = worker._runs[given.run]._threads
        assert len(set(ours)) == len(ours) <= 4
        began = clock.now()
        assert worker.leave(given.run, failed=False) == ([], [])
        assert clock.now() - began < 5


def test_end_of_the_run_cancels() -> None:
    """What runs is cancelled when the run is left, and whoever waits for its report gets an error."""
    given, room = payload(), threading.Event()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(run, given, [("sleep", 60.0)], 0, room.set)
        assert room.wait(20)
        assert worker.leave(given.run) == ([], [])
        with pytest.raises(RunOverError):
            first.result(20)
    (failure,) = run(given, [1], 1).failures
    assert "is over" in str(failure.error)


def test_loop_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop itself fails, nobody waits for ever: neither who gave a chunk, nor who gives one later."""

    async def broken(*_: object) -> None:
        raise MemoryError("the loop")

    monkeypatch.setattr(AsyncWorker, "_start", broken)
    given = payload()
    for first in (0, 1):
        with pytest.raises(MemoryError, match="the loop"):
            run(given, [1], first)
