"""What runs inside a worker: one report a chunk, resources entered once, every error as a value."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError, ParallelTaskError
from airflow_joblib.pickling.pickler import dumps, loads
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import ItemError, Payload, Report
from airflow_joblib.wire.status_board import RESOURCES, Held, Slot
from airflow_joblib.wire.tracebacks import Place, Trace
from airflow_joblib.worker import process as worker
from airflow_joblib.worker import reports
from airflow_joblib.worker.worker import Worker, mark_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def double(item: int) -> int:
    return item * 2


def fail_on_three(item: int) -> int:
    if item == 3:
        raise LookupError("three")
    return item


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process no worker again, whatever a test made of it."""
    monkeypatch.setattr(worker, "_state", worker._State())
    monkeypatch.setattr(reports, "task_classes", known := set[type]())
    monkeypatch.setattr(worker, "task_classes", known)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Call], None]]:
    """Make this process a worker, but for its signal handlers and finalizers."""
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(worker.util, "Finalize", lambda *_, **__: None)  # type: ignore[attr-defined]
    yield lambda call: worker.start(Payload(dumps(call), dumps([])))
    worker.leave()


def test_report() -> None:
    """A chunk that goes well reports its results in order, its place, its worker and its time."""
    report = Worker(Call(double)).run([1, 2, 3], range(10, 13))
    assert (report.first, report.worker, report.values, report.failures) == (10, os.getpid(), [2, 4, 6], [])
    assert report.seconds > 0


def test_failure_ends_the_chunk() -> None:
    """The first failure ends the chunk: the report keeps what came before, and says which item failed."""
    report = Worker(Call(fail_on_three)).run([1, 2, 3, 4], range(10, 14))
    assert report.values == [1, 2, None]
    (failure,) = report.failures
    assert (failure.index, failure.verdict) == (12, "retry")
    assert isinstance(failure.error, LookupError)


def test_traceback_starts_with_the_users_frames() -> None:
    """A failure's traceback begins in the user's function, not in ours."""
    (failure,) = Worker(Call(fail_on_three)).run([3], [0]).failures
    trace = failure.error.__traceback__
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "fail_on_three"


def test_halted() -> None:
    """A worker that is told to halt runs no further item."""
    ran: list[int] = []

    def run(item: int) -> None:
        time.sleep(0.002)
        ran.append(item)

    report = Worker(Call(run)).run([1, 2, 3], range(3), halted=lambda: len(ran) == 2)
    assert ran == [1, 2]
    assert (report.values, report.failures) == ([None, None], [])


def test_catches_what_it_is_told_to() -> None:
    """An exit or an interrupt is the item's failure in a worker of its own, and ends the loop in the task's thread."""

    def leave(item: int) -> None:
        raise SystemExit(item)

    with pytest.raises(SystemExit):
        Worker(Call(leave)).run([1], [0])
    (failure,) = Worker(Call(leave), catch=BaseException).run([1], [0]).failures
    assert isinstance(failure.error, SystemExit)
    assert failure.verdict == "end"


class TestResources:
    """``per_worker`` as one worker sees it."""

    def test_entered_once(self) -> None:
        """Resources are entered at the first chunk, in order, used by every item, and left in reverse order."""
        log: list[str] = []

        @contextmanager
        def resource(name: str) -> Iterator[str]:
            log.append(f"enter {name}")
            yield name
            log.append(f"leave {name}")

        def use(item: int, a: str, b: str) -> str:
            return f"{item}{a}{b}"

        one = Worker(Call(use, factories={"a": lambda: resource("a"), "b": lambda: resource("b")}))
        assert log == []
        assert one.run([1, 2], range(2)).values == ["1ab", "2ab"]
        assert one.run([3], [2]).values == ["3ab"]
        assert log == ["enter a", "enter b"]
        one.close()
        one.close()
        assert log == ["enter a", "enter b", "leave b", "leave a"]

    def test_plain_value(self) -> None:
        """What is no context manager is passed as it is."""
        assert Worker(Call(lambda item, by: item * by, factories={"by": lambda: 3})).run([2], [0]).values == [6]

    def test_shared_argument(self) -> None:
        """A resource's function gets the shared arguments it asks for."""
        call = Call(lambda item, a, by: item * by, shared={"a": 5}, factories={"by": lambda a: a + 1})
        assert Worker(call).run([2], [0]).values == [12]

    def test_set_up_fails(self) -> None:
        """A set-up that fails is the chunk's failure, and names the resource."""

        def broken() -> None:
            raise ConnectionError("no route")

        report = Worker(Call(double, factories={"conn": broken})).run([1, 2], [5, 6])
        assert report.values == []
        (failure,) = report.failures
        assert (failure.index, failure.resource, failure.verdict) == (-1, "conn", "end")
        assert isinstance(failure.error, ConnectionError)

    def test_set_up_fails_once(self) -> None:
        """A worker whose set-up failed tries it no second time, and leaves what it had entered."""
        log: list[str] = []

        @contextmanager
        def good() -> Iterator[int]:
            log.append("enter")
            yield 1
            log.append("leave")

        def broken() -> None:
            log.append("broken")
            raise ConnectionError("no route")

        one = Worker(Call(double, factories={"good": good, "conn": broken}))
        failures = [*one.run([1], [0]).failures, *one.run([2], [1]).failures]
        assert [failure.resource for failure in failures] == ["conn", "conn"]
        one.close()
        assert log == ["enter", "broken", "leave"]


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


def refuse() -> None:
    raise RuntimeError("not here")


class CannotLoad(Exception):
    def __reduce__(self) -> Any:
        return refuse, ()


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Silent(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise RuntimeError("no")


def raise_it(kind: str) -> None:
    if kind == "two arguments":
        raise TwoArguments(404, "not found")
    if kind == "load":
        raise CannotLoad("twice")
    if kind == "lock":
        raise HoldsALock("held")
    if kind == "silent":
        raise Silent("held")
    if kind == "group":
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])
    raise ValueError(kind)


class TestProcess:
    """A worker that is a process: bytes in, bytes out, and no exception of its own."""

    def test_round(self, started: Callable[[Call], None]) -> None:
        """A pickled chunk gives a pickled report."""
        started(Call(double))
        report = loads(worker.run_chunk(dumps([1, 2]), [7, 8]))
        assert (report.first, report.values, report.failures) == (7, [2, 4], [])
        assert worker.inside_worker()

    @pytest.mark.parametrize(
        ("kind", "expected", "text"),
        [
            ("plain", ValueError, "plain"),
            ("two arguments", TwoArguments, "404: not found"),
            ("load", ParallelTaskError, "CannotLoad: twice"),
            ("lock", ParallelTaskError, "HoldsALock: held"),
            ("silent", ParallelTaskError, "Silent"),
            ("group", ExceptionGroup, "several"),
        ],
    )
    def test_error_arrives(
        self, kind: str, expected: type[Exception], text: str, started: Callable[[Call], None]
    ) -> None:
        """An item's exception arrives as it was; one that can't travel, as one that says the same."""
        started(Call(raise_it))
        (failure,) = loads(worker.run_chunk(dumps([kind]), [7])).failures
        assert type(failure.error) is expected
        assert text in str(failure.error)
        assert getattr(failure.error, "code", 404) == 404
        assert failure.index == 7
        assert failure.trace.places[-1].function == "raise_it"

    def test_result_that_cannot_travel(self, started: Callable[[Call], None]) -> None:
        """A result that can't be pickled is that item's failure, by the path of the culprit; the others stand."""
        started(Call(lambda item: {"a": threading.Lock()} if item == 3 else item))
        report = loads(worker.run_chunk(dumps([1, 2, 3, 4]), range(10, 14)))
        assert report.values == [1, 2, None, 4]
        (failure,) = report.failures
        assert (failure.index, failure.verdict) == (12, "fail")
        assert isinstance(failure.error, NotPicklableError)
        assert failure.error.path.startswith("result of item 12")
        assert "lock" in failure.error.culprit_type

    def test_chunk_that_cannot_load(self, started: Callable[[Call], None]) -> None:
        """An item that can't be loaded has failed; where it is one of several, they have to come one by one."""
        started(Call(double))
        (failure,) = loads(worker.run_chunk(b"rubbish", [7])).failures
        assert isinstance(failure.error, pickle.UnpicklingError)
        assert failure.index == 7
        report = loads(worker.run_chunk(b"rubbish", [7, 8]))
        assert (report.unreadable, report.values, report.failures) == (True, [], [])

    def test_call_that_cannot_load(self, started: Callable[[Call], None]) -> None:
        """A function that can't be loaded ends the run, whatever is tolerated of items."""
        worker.start(Payload(b"rubbish", dumps([])))
        (failure,) = loads(worker.run_chunk(dumps([1]), [7])).failures
        assert (failure.index, failure.verdict) == (-1, "end")

    def test_call_is_loaded_once(self, started: Callable[[Call], None], monkeypatch: pytest.MonkeyPatch) -> None:
        """The call is unpickled at the first chunk, not again."""
        started(Call(double))
        worker.run_chunk(dumps([1]), [0])
        first = worker._state.worker
        worker.run_chunk(dumps([2]), [1])
        assert worker._state.worker is first

    def test_anywhere(self, started: Callable[[Call], None]) -> None:
        """Where a worker can't be told to start, its first chunk starts it, and one of another run starts it anew."""
        one, other = [Payload(dumps(Call(function)), dumps([])) for function in (double, hex)]
        assert loads(worker.run_chunk_anywhere(one, dumps([1]), [0])).values == [2]
        first = worker._state.worker
        assert loads(worker.run_chunk_anywhere(one, dumps([2]), [0])).values == [4]
        assert worker._state.worker is first
        assert loads(worker.run_chunk_anywhere(other, dumps([1]), [0])).values == ["0x1"]

    def test_asked_to_leave(self) -> None:
        """SIGTERM unwinds an item once; asked again, the item is left to its ``finally`` blocks."""
        worker._state.running = True
        with pytest.raises(SystemExit):
            worker._leave(signal.SIGTERM, None)
        worker._leave(signal.SIGTERM, None)

    def test_asked_to_leave_between_chunks(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Between two chunks SIGTERM leaves the resources and ends the process, though a tear-down fails."""
        ended: list[int] = []

        @contextmanager
        def resource() -> Iterator[None]:
            yield
            raise ConnectionError("lost")

        monkeypatch.setattr(os, "_exit", ended.append)
        slot = Slot()
        worker._state.worker = Worker(Call(lambda item, a: item, factories={"a": resource}), slot=slot)
        worker._state.worker.run([1], [0])
        with pytest.raises(SystemExit):  # only since the process goes on here
            worker._leave(signal.SIGTERM, None)
        assert ended == [128 + signal.SIGTERM]
        assert slot.row[RESOURCES] == Held.FAILED
        assert "ConnectionError: lost" in capsys.readouterr().err

    def test_asked_to_leave_while_leaving(self, started: Callable[[Call], None]) -> None:
        """SIGTERM does not cut a resource's tear-down short."""
        left: list[int] = []

        @contextmanager
        def resource() -> Iterator[None]:
            yield
            worker._leave(signal.SIGTERM, None)
            left.append(1)

        worker._state.worker = Worker(Call(lambda item, a: item, factories={"a": resource}))
        worker._state.worker.run([1], [0])
        worker.leave()
        assert left == [1]

    @pytest.mark.parametrize("fails", [False, True])
    def test_printed_before_left(self, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
        """What leaving prints is out before the task is notified, which then kills the process."""
        states: list[int] = []

        @contextmanager
        def resource() -> Iterator[None]:
            yield
            print("left")
            if fails:
                raise ConnectionError("lost")

        worker._state.worker = Worker(Call(lambda item, a: item, factories={"a": resource}), slot=worker._state.slot)
        worker._state.worker.run([1], [0])
        out = io.StringIO()
        monkeypatch.setattr(out, "flush", lambda: states.append(worker._state.slot.row[RESOURCES]))
        monkeypatch.setattr(sys, "stdout", out)
        worker.leave()
        assert states == [Held.FAILED if fails else Held.LEAVING]
        assert worker._state.slot.row[RESOURCES] == (Held.LOST if fails else Held.LEFT)

    def test_prepared_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What prepares a worker runs before anything of the user is loaded in it."""
        monkeypatch.setattr(worker.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]
        monkeypatch.setattr(worker.util, "Finalize", lambda *_, **__: None)  # type: ignore[attr-defined]
        prepared: list[object] = []
        worker.start(Payload(dumps(Call(double)), dumps([]), lambda: prepared.append(worker._state.worker)))
        assert prepared == [None]


def test_inside_worker_is_per_thread() -> None:
    """A thread is a worker while it runs a chunk; others are not."""
    seen: dict[str, bool] = {}
    mark_thread(inside=True)
    try:
        other = threading.Thread(target=lambda: seen.update(other=worker.inside_worker()))
        other.start()
        other.join()
        seen["own"] = worker.inside_worker()
    finally:
        mark_thread(inside=False)
    assert seen == {"own": True, "other": False}
    assert not worker.inside_worker()


def test_records_travel() -> None:
    """A report and a failure survive pickling."""
    report = Report(3, 99, [1, 2], [ItemError(5, ValueError("x"), Trace([Place("f.py", 1, "f", "m")]))], seconds=0.5)
    other: Any = pickle.loads(pickle.dumps(report))
    assert (other.first, other.worker, other.values, other.seconds) == (3, 99, [1, 2], 0.5)
    (failure,) = other.failures
    assert (failure.index, failure.trace) == (5, Trace([Place("f.py", 1, "f", "m")]))


@pytest.mark.parametrize("fails", [True, False])
def test_resources_are_left_in_peace(fails: bool) -> None:
    """A resource is left without an exception, whether or not an item failed: also one without ``try``/``finally``."""
    seen: list[object] = []

    @contextmanager
    def resource() -> Iterator[None]:
        yield
        seen.append("left")

    def divide(item: int, resource: object) -> float:
        del resource
        return 1 / item

    worker = Worker(Call(divide, factories={"resource": resource}))
    worker.run([1, 0 if fails else 2], range(2))
    worker.close()
    assert seen == ["left"]
