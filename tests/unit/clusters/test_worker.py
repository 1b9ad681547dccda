"""What of a run is in a worker of a cluster, where no cluster is needed to see it."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from airflow_joblib.clusters import worker
from airflow_joblib.pickling import dumps
from airflow_joblib.system import clock
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import Payload, Rules
from airflow_joblib.worker import reports


class Item:
    """A class that items refer to by key."""


def when(_: object) -> float:
    return clock.now()


def test_call_that_does_not_load() -> None:
    """The chunk's report has the error, and the worker keeps nothing of the run."""
    payload = Payload(b"no pickle", dumps([Item]))
    report = pickle.loads(worker.run_chunk("a run", payload, b"", [0]))
    assert [type(failure.error) for failure in report.failures] == [pickle.UnpicklingError]
    assert Item not in reports.task_classes
    assert not worker.knows("a run")


def test_classes_of_two_runs() -> None:
    """A class that another run's task has as well stays until that run is over."""
    payload = Payload(dumps(Call(when)), dumps([Item]))
    for run in ("first", "second"):
        worker.run_chunk(run, payload, dumps([1]), [0])
    worker.leave("first")
    assert Item in reports.task_classes
    worker.leave("second")
    assert Item not in reports.task_classes


def test_run_that_takes_long_to_load() -> None:
    """What it loads keeps no other run waiting, nor its own end, after which nothing of it is there."""
    begun, done = threading.Event(), threading.Event()

    def slow() -> Payload:
        begun.set()
        done.wait(5)
        return Payload(dumps(Call(when)), dumps([Item]))

    quick = Payload(dumps(Call(when)), dumps([]))
    worker.run_chunk("quick", quick, dumps([1]), [0])
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(worker.run_chunk, "slow", slow, dumps([1]), [0])
        begun.wait()
        worker.run_chunk("quick", quick, dumps([1]), [1])
        worker.leave("quick")
        worker.leave("slow")
        assert not late.done()
        done.set()
        report = pickle.loads(late.result())
    assert [str(failure.error) for failure in report.failures] == ["The run of this chunk is over."]
    assert not worker.knows("slow")
    assert Item not in reports.task_classes


def test_interruption_that_comes_late() -> None:
    """Where the item has ended meanwhile, nothing else is interrupted in its place."""
    worker.run_chunk("a late run", Payload(dumps(Call(when)), dumps([])), dumps([1]), [0])
    (thread,) = worker._runs["a late run"]._threads
    thread._interrupt()
    assert worker.leave("a late run") == ([], [])


def test_part_of_a_rate() -> None:
    """Each slot of a cluster starts its part of the items that may start in a second."""
    payload = Payload(dumps(Call(when)), dumps([]), rules=Rules(rate=40, workers=4))
    try:
        report = pickle.loads(worker.run_chunk("a run", payload, dumps([1, 2, 3, 4]), range(4)))
    finally:
        worker.leave("a run")
    assert all(later - start > 0.05 for start, later in pairwise(report.values))
    assert report.rate_waited > 0.15
