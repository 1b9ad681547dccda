"""The channel by which workers ask the task's process."""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.clusters.pool import connected
from airflow_joblib.taskflow.cluster.worker_side import SessionFactory
from airflow_joblib.taskflow.logs.levels import Levels
from tests.engines.helpers import MARKS, on

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.clusters import Cluster

    Source = Callable[[str], Any]

pytestmark = MARKS


def channels(test: Callable[..., None]) -> Callable[..., None]:
    """Mark what is tested on the engines that have a channel, in one session."""
    marked: Callable[..., None] = pytest.mark.usefixtures("session")(on("dask", "ray")(test))
    return marked


ASK = """
import threading, time
from concurrent.futures import ThreadPoolExecutor

@parallel_task(batch_size=1, **OPTIONS)
def work(item, ask, count):
    with ThreadPoolExecutor(4) as threads:  # of which each has many turns
        told = list(threads.map(lambda turn: ask(b"%d of %d" % (turn, item)), range(count)))
    assert told == [b"answer to %d of %d" % (turn, item) for turn in range(count)]
    times = []
    for _ in range(count):
        began = time.perf_counter()
        ask(b"")
        times.append(time.perf_counter() - began)
    return times
"""


def answer(request: bytes) -> bytes:
    """Answer, from a thread that is none of the run's."""
    assert threading.current_thread() is not threading.main_thread()
    return b"answer to " + request


@channels
def test_answers(engine: str, cluster: Cluster, source: Source) -> None:
    """Each request gets its own answer, from several workers and threads at a time, and soon."""
    module = source(ASK)
    with connected(engine, cluster.options, 2) as connection, connection.request_channel(answer) as ask:
        assert ask is not None
        times = [each for item in module.work(range(4), ask=ask, count=40) for each in item]
    print(f"median of a request: {1000 * statistics.median(times):.1f} ms")
    assert statistics.median(times) < 0.1  # 10 ms on a machine that has nothing else to do


@channels
def test_large(engine: str, cluster: Cluster, source: Source) -> None:
    """A request and an answer may have megabytes."""
    module = source("""
@parallel_task(**OPTIONS)
def work(item, ask):
    return len(ask(bytes(item)))
""")
    with connected(engine, cluster.options, 2) as connection, connection.request_channel(lambda data: data * 2) as ask:
        assert module.work([0, 1, 8_000_000], ask=ask) == [0, 2, 16_000_000]


@channels
def test_slow_answer(engine: str, cluster: Cluster, source: Source) -> None:
    """A request that takes long is answered once, and holds up no other."""
    asked: list[bytes] = []

    def slowly(request: bytes) -> bytes:
        asked.append(request)
        time.sleep(3 if request == b"0" else 0)
        return request

    module = source("""
import time

@parallel_task(batch_size=1, **OPTIONS)
def work(item, ask):
    began = time.monotonic()
    ask(b"%d" % item)
    return time.monotonic() - began
""")
    with connected(engine, cluster.options, 2) as connection, connection.request_channel(slowly) as ask:
        slow, *others = module.work(range(4), ask=ask)
    assert slow > 2.9
    assert max(others) < 2
    assert sorted(asked) == [b"0", b"1", b"2", b"3"]


@channels
def test_interrupted_while_it_waits(engine: str, cluster: Cluster, source: Source) -> None:
    """An item that waits for an answer ends with the run, and leaves no request."""
    module = source("""
@parallel_task(batch_size=1, **OPTIONS)
def work(item, ask):
    if item == 1:
        ask(b"never")
    raise ValueError("ends the run")
""")
    release = threading.Event()

    def never(request: bytes) -> bytes:
        release.wait(60)
        return request

    with connected(engine, cluster.options, 2) as connection:
        with connection.request_channel(never) as ask:
            began = time.monotonic()
            with pytest.raises(ValueError, match="ends the run"):
                module.work([1, 2], ask=ask)
            assert time.monotonic() - began < 20
            release.set()
        assert not left_waiting(engine, source)


@on("dask")
def test_another_run_ends_meanwhile(engine: str, cluster: Cluster, source: Source) -> None:
    """What a run asks as it ends is answered, though another run of the same workers is over before that."""
    module = source("""
from contextlib import contextmanager

@contextmanager
def asking(ask):
    yield
    assert ask(b"leaving") == b"answer"

@parallel_task(batch_size=1, per_worker={"resource": asking}, **OPTIONS)
def work(item, ask, resource):
    return item

@parallel_task(batch_size=1, **OPTIONS)
def another(item):
    return -item
""")
    others = []

    def run_another(_: bytes) -> bytes:
        others.append(module.another([1, 2, 3, 4]))
        return b"answer"

    with connected(engine, cluster.options, 2) as connection, connection.request_channel(run_another) as ask:
        assert module.work([1, 2, 3, 4], ask=ask) == [1, 2, 3, 4]
    assert others == [[-1, -2, -3, -4]] * 2


def test_run_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for an answer as its run ends, in a thread that nobody can interrupt, doesn't wait for ever."""
    dask_worker: Any = pytest.importorskip("airflow_joblib.clusters.dask.worker")
    waits = threading.Event()
    here = SimpleNamespace(handlers={}, address="", status=dask_worker.Status.running, log_event=lambda *_: waits.set())
    monkeypatch.setattr(dask_worker, "_this_worker", lambda: here)
    session: Any = SessionFactory("dask", dask_worker.RequestSender("a client"), {}, Levels())()
    found: list[Exception] = []

    def ask() -> None:
        try:
            session._ask(b"")
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert waits.wait(5)
    session.leave()
    thread.join(5)
    assert not thread.is_alive()
    assert "the run is over" in str(found)
    assert not dask_worker._waiting


def left_waiting(engine: str, source: Source) -> list[Any]:
    """Return what still waits for an answer somewhere on the cluster that is connected."""
    if engine == "ray":
        import ray

        return [name for name in ray.util.list_named_actors(all_namespaces=True) if "airflow" in str(name)]
    module = source("""
@parallel_task(**OPTIONS)
def work(item):
    from airflow_joblib.clusters.dask import worker as dask_worker
    return list(dask_worker._waiting)
""")
    return [request for item in module.work(range(4)) for request in item]


@on("ray")
def test_ray_wants_the_key(engine: str, cluster: Cluster, source: Source) -> None:
    """Whoever finds the mailbox, but has not the run's key, gets no answer."""
    module = source("""
@parallel_task(item_timeout=2, max_failures=1, **OPTIONS)
def work(item, ask):
    return ask[item](b"request")
""")
    asked: list[bytes] = []

    def note(request: bytes) -> bytes:
        asked.append(request)
        return b"answer"

    with connected(engine, cluster.options, 2) as connection, connection.request_channel(note) as ask:
        forged = dataclasses.replace(ask, key=bytes(16))  # type: ignore[type-var]
        assert module.work([0, 1], ask=[ask, forged]) == [b"answer", None]
    assert asked == [b"request"]


class _Behind:
    """A worker that was still waiting when it said so, each time it is reached, and can't be reached at first."""

    def __init__(self) -> None:
        self.scheduler = self
        self.answers: list[tuple[str, bytes]] = []
        self.reached = 0

    async def proxy(self, msg: dict[str, Any], worker: str) -> list[tuple[str, bytes]]:
        del worker
        self.reached += 1
        if msg["answers"] and self.reached < 4:
            raise OSError("the connection broke")
        self.answers += msg["answers"]
        return [("1", b"add one")]


def test_a_request_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is mentioned after its answer is not done again; an answer that got lost is sent again."""
    dask_channel: Any = pytest.importorskip("airflow_joblib.clusters.dask.channel")
    monkeypatch.setattr(dask_channel, "_PAUSE", 0.01)
    worker = _Behind()
    done: list[bytes] = []

    def answer(data: bytes) -> bytes:
        done.append(data)
        return b"done"

    async def talk() -> None:
        with ThreadPoolExecutor(1) as threads:
            channel = dask_channel._Channel(worker, "key", answer, threads)
            for _ in range(3):
                channel.notified((0.0, {"channel": "key", "address": "tcp://worker"}))
                await asyncio.gather(*channel._tasks)
                await asyncio.gather(*channel._tasks)

    asyncio.run(talk())
    assert done == [b"add one"]
    assert worker.answers == [("1", b"done")]
