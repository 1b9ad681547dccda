"""Functions that are ``async def``: their items run together on an event loop in each worker."""

from __future__ import annotations

import asyncio
import decimal
import logging
import os
import signal
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

from airflow_joblib import InvalidOptionError, ItemTimeoutError, NotPicklableError
from airflow_joblib.worker.async_worker import AsyncWorker
from airflow_joblib.worker.worker import current_item
from tests.unit.helpers import (
    LOCAL,
    LOCAL_BY_DAY,
    PROCESSES,
    PROCESSES_BY_DAY,
    eventually,
    note,
    notes,
    run_python,
    task,
    worker_processes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

local = pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=[pytest.mark.slow] if name == "loky" else []) for name in LOCAL]
)
local_by_day = pytest.mark.parametrize("backend", LOCAL_BY_DAY)
#: What pytest-timeout does by default takes the timer that a limit in the main thread takes, too.
pytestmark = pytest.mark.timeout(120, method="thread")
#: Seconds that no item takes, unless it is cancelled.
LONG = 100.0


async def double(item: int, *, pause: float = 0.001) -> int:
    """Wait a little, and return twice the item."""
    await asyncio.sleep(pause)
    return 2 * item


class TestResults:
    """What a run returns."""

    @local
    def test_in_input_order(self, backend: str) -> None:
        """Results stand in the order of the items, in whatever order those end."""

        async def wait(item: int) -> int:
            await asyncio.sleep(0.02 if item % 7 == 0 else 0.0)
            return item

        assert task(wait, backend=backend)(range(300)) == list(range(300))

    @local_by_day
    def test_lazy_items(self, backend: str, tmp_path: Path) -> None:
        """Items are drawn as they are needed: those that run, and a few that wait."""
        path, ahead = tmp_path / "ended", []

        def draw() -> Iterator[int]:
            for item in range(400):
                if item % 20 == 0:
                    ahead.append(item - len(notes(path)))
                yield item

        async def wait(item: int) -> int:
            await asyncio.sleep(0.01)
            note(path)
            return item

        assert task(wait, backend=backend, concurrency=8)(draw()) == list(range(400))
        assert max(ahead) <= 150

    @local_by_day
    def test_empty(self, backend: str) -> None:
        """Of no items the result is an empty list."""
        assert task(double, backend=backend)([]) == []

    @local_by_day
    def test_shared_arguments(self, backend: str) -> None:
        """Shared arguments arrive as in a plain function."""
        assert task(double, backend=backend)([1, 2, 3], pause=0.0) == [2, 4, 6]

    def test_callable_forms(self) -> None:
        """A partial, a method and an object whose call is asynchronous are functions like others."""

        class Doubler:
            async def __call__(self, item: int) -> int:
                return await double(item)

            async def method(self, item: int) -> int:
                return await double(item)

        for function in (partial(double, pause=0.0), Doubler(), Doubler().method):
            assert task(function, backend="threading")([1, 2]) == [2, 4]

    @local_by_day
    def test_where_a_loop_runs(self, backend: str) -> None:
        """A call from code that an event loop runs, as in a notebook or an asynchronous test, works."""

        async def main() -> list[int]:
            return task(double, backend=backend)([1, 2, 3])  # type: ignore[no-any-return]

        assert asyncio.run(main()) == [2, 4, 6]

        async def awaiting() -> Any:
            results: Any = task(double, backend=backend)([1, 2, 3])
            return await results, results  # as Airflow does with what an asynchronous function returns

        awaited, results = asyncio.run(awaiting())
        assert awaited == results == [2, 4, 6]
        assert type(awaited) is list

    def test_inside_an_item(self) -> None:
        """An item of a plain fan-out may call one of an asynchronous function, and the other way round."""
        inner = task(double, backend="multiprocessing")
        outer = task(lambda item: sum(inner(range(item))), backend="multiprocessing")
        assert outer([2, 3]) == [2, 6]

        async def call(item: int) -> int:
            return sum(await asyncio.to_thread(inner, range(item)))

        assert task(call, backend="multiprocessing")([2, 3]) == [2, 6]

    @local_by_day
    def test_run(self, backend: str) -> None:
        """The record of a run has every item, and the time that the items took."""
        run = task(double, backend=backend).run(range(50), pause=0.01)
        (record,) = run.record["runs"]
        assert run.results == [2 * item for item in range(50)]
        assert record["items"]["done"] == 50
        assert sum(record["durations"]["counts"]) == 50
        assert sum(entry[4] for entry in record["timeline"]) == 50
        assert max(entry["seconds"] for entry in record["slowest"]) >= 0.01


class TestConcurrency:
    """The option ``concurrency``."""

    @local_by_day
    @pytest.mark.parametrize("concurrency", [1, 5])
    def test_at_most(self, backend: str, concurrency: int) -> None:
        """No worker runs more items at a time, and each as many."""
        running: dict[tuple[int, int], int] = {}

        async def count(_item: int) -> tuple[tuple[int, int], int]:
            me = os.getpid(), threading.get_ident()
            running[me] = running.get(me, 0) + 1
            seen = running[me]
            await asyncio.sleep(0.002)
            running[me] -= 1
            return me, seen

        found = task(count, backend=backend, concurrency=concurrency)(range(100))
        assert max(seen for _, seen in found) == concurrency

    @local_by_day
    def test_taken_as_others_end(self, backend: str) -> None:
        """A slow item holds none of the others up: they run in the places beside it."""

        async def wait(item: int) -> float:
            await asyncio.sleep(0.4 if item == 0 else 0.001)
            return time.monotonic()

        ended = task(wait, backend=backend, n_jobs=1, concurrency=2)(range(60))
        assert max(ended[1:]) < ended[0]

    @pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
    def test_invalid(self, value: object) -> None:
        """What is no number above 0 is refused."""
        with pytest.raises(InvalidOptionError, match="concurrency must be a whole number above 0"):
            task(double, concurrency=value)

    def test_of_a_plain_function(self) -> None:
        """A plain function is led to threads."""
        with pytest.raises(InvalidOptionError, match="backend='threading'"):
            task(lambda item: item, concurrency=2)


class TestFailures:
    """Items that raise."""

    @local
    def test_first_failure_cancels(self, backend: str, tmp_path: Path) -> None:
        """The first failure cancels what runs; ``finally`` blocks run to their end, though they await."""
        begun, ended = tmp_path / "begun", tmp_path / "ended"

        async def fail_one(item: int) -> None:
            note(begun)
            if item == 3:
                while len(notes(begun)) < 8:  # noqa: ASYNC110 - of other processes too
                    await asyncio.sleep(0.01)
                raise LookupError("no such thing")
            try:
                await asyncio.sleep(LONG)
            finally:
                await asyncio.sleep(0.01)
                note(ended, item)

        with pytest.raises(LookupError, match="no such thing") as caught:
            task(fail_one, backend=backend, concurrency=8)(range(8))
        assert "Raised by item 3 (3) on try 1" in caught.value.__notes__[0]
        assert sorted(notes(ended)) == sorted(str(item) for item in range(8) if item != 3)

    @local_by_day
    def test_tolerated_and_retried(self, backend: str, published: list[Any]) -> None:
        """A failure is tried again, and holds no place meanwhile; what fails for good is tolerated and recorded."""
        tries: dict[int, int] = {}

        async def fail_tens(item: int) -> int:
            await asyncio.sleep(0)
            tries[item] = tries.get(item, 0) + 1
            if item % 10 == 0:
                raise LookupError(f"no {item}")
            return item

        assert task(fail_tens, backend=backend, max_failures=3, item_retries=1)(range(30)) == [
            None if item % 10 == 0 else item for item in range(30)
        ]
        assert [(record["index"], record["tries"]) for record in published[-1]] == [(0, 2), (10, 2), (20, 2)]

    @local_by_day
    def test_places_of_failure(self, backend: str) -> None:
        """The traceback leads to the line of the user's that has raised."""
        with pytest.raises(ZeroDivisionError) as caught:
            task(divide, backend=backend)([1, 0])
        frames = []
        trace = caught.value.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert frames[-2:] == ["divide", "divided"]

    def test_loop_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes wrong with a loop itself ends the run with that error, whatever is under way."""

        async def broken(*_: object) -> None:
            raise RuntimeError("the loop is broken")

        monkeypatch.setattr(AsyncWorker, "_start", broken)
        with pytest.raises(RuntimeError, match="the loop is broken"):
            task(double, backend="threading")(range(100))

    @local_by_day
    def test_cancels_itself(self, backend: str, published: list[Any]) -> None:
        """An item that cancels itself has failed, and no other has, whichever takes its place next."""

        async def cancel_one(item: int) -> int:
            if item == 3:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            if item != 4:
                await asyncio.sleep(0)
            return item

        results = task(cancel_one, backend=backend, concurrency=1, max_failures=1)(range(30))
        assert results == [None if item == 3 else item for item in range(30)]
        assert [record["error_type"] for record in published[-1]] == ["asyncio.exceptions.CancelledError"]

    @local_by_day
    def test_cancels_itself_and_returns(self, backend: str) -> None:
        """An item that asks for its cancellation and returns before it comes has a result; no other is cancelled."""

        async def cancel_late(item: int) -> int:
            await asyncio.sleep(0)
            if item == 3:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            return item

        assert task(cancel_late, backend=backend, concurrency=1)(range(10)) == list(range(10))

    @pytest.mark.parametrize("backend", PROCESSES)
    def test_killed_worker(self, backend: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """An item that kills its worker is named; those that ran beside it run again, and finished ones do not."""
        killed, ran = tmp_path / "killed", tmp_path / "ran"

        async def die_once(item: int) -> int:
            await asyncio.sleep(0.001)
            if item == 60 and not notes(killed):
                note(killed)
                await asyncio.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
            note(ran, item)
            return item

        assert task(die_once, backend=backend, concurrency=4)(range(100)) == list(range(100))
        assert any("while it ran item 60" in message for message in caplog.messages)
        assert len(notes(ran)) < 140

    @pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
    def test_kills_twice(self, backend: str, published: list[Any]) -> None:
        """An item that kills its worker twice has failed, with that said; the others have results."""

        async def die(item: int) -> int:
            await asyncio.sleep(0.001)
            if item == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return item

        results = task(die, backend=backend, max_failures=1)(range(20))
        assert results == [None if item == 5 else item for item in range(20)]
        assert [record["error_type"] for record in published[-1]] == ["airflow_joblib.exceptions.WorkerLostError"]

    @local_by_day
    def test_results_that_are_refused(self, backend: str) -> None:
        """A result that can't be sent is the failure of its item alone."""

        async def lock(item: int) -> Any:
            await asyncio.sleep(0)
            return threading.Lock() if item == 3 else item

        run = task(lock, backend=backend, max_failures=1)
        if backend in PROCESSES:
            assert run(range(6)) == [0, 1, 2, None, 4, 5]
            with pytest.raises(NotPicklableError, match="result of item 3"):
                task(lock, backend=backend)(range(6))
        else:
            assert run(range(6))[4:] == [4, 5]


async def divided(item: int) -> float:
    await asyncio.sleep(0)
    return 1 / item


async def divide(item: int) -> float:
    return await divided(item)


class TestTimeouts:
    """The option ``item_timeout``."""

    @local_by_day
    def test_waits_too_long(self, backend: str, published: list[Any]) -> None:
        """An item that waits too long is cancelled, its ``finally`` runs, and the others go on."""

        async def wait(item: int) -> int:
            await asyncio.sleep(LONG if item == 3 else 0.01)
            return item

        assert task(wait, backend=backend, item_timeout=0.2, max_failures=1)(range(8)) == [
            None if item == 3 else item for item in range(8)
        ]
        assert [record["error_type"] for record in published[-1]] == ["airflow_joblib.exceptions.ItemTimeoutError"]

    @local_by_day
    def test_blocks(self, backend: str) -> None:
        """One that blocks the loop is ended as a plain item is."""

        async def block(item: int) -> int:
            until = time.monotonic() + (LONG if item == 3 else 0.0)
            while time.monotonic() < until:
                pass
            return item

        with pytest.raises(ItemTimeoutError) as caught:
            task(block, backend=backend, item_timeout=0.2)(range(8))
        assert caught.value.index == 3

    @pytest.mark.parametrize("backend", PROCESSES_BY_DAY)
    def test_blocks_in_c(self, backend: str) -> None:
        """One that blocks the loop in C code is ended with its worker."""

        async def block(item: int) -> int:
            if item == 3:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
                time.sleep(LONG)  # noqa: ASYNC251 - what is to be ended
            return item

        with pytest.raises(ItemTimeoutError) as caught:
            task(block, backend=backend, item_timeout=0.2)(range(8))
        assert caught.value.index == 3

    @local_by_day
    def test_goes_on(self, backend: str) -> None:
        """One that goes on in spite of its cancellation is cancelled again, and has failed by its limit."""

        async def stubborn(item: int) -> int:
            if item == 1:
                try:
                    await asyncio.sleep(LONG)
                except asyncio.CancelledError:
                    await asyncio.sleep(LONG)
            return item

        with pytest.raises(ItemTimeoutError):
            task(stubborn, backend=backend, item_timeout=0.1)(range(3))

    @local_by_day
    def test_raised_by_the_item_itself(self, backend: str) -> None:
        """Where no option has set one, it is the item's failure as any other exception is."""

        async def raises(item: int) -> int:
            if item == 3:
                raise ItemTimeoutError(1.0)
            return item

        assert task(raises, backend=backend, max_failures=1)(range(6)) == [0, 1, 2, None, 4, 5]

    @pytest.mark.parametrize("backend", ["multiprocessing", "threading"])
    def test_warned_of(self, backend: str, tmp_path: Path) -> None:
        """A call that blocks the loop for over a second is logged once in its worker, with the item."""
        path = tmp_path / "log"

        async def hold_up(item: int) -> int:
            if item == 0:
                handler = logging.FileHandler(path)
                logging.getLogger("airflow_joblib").addHandler(handler)
            else:
                time.sleep(1.05)  # noqa: ASYNC251 - what is to be warned of
            return item

        assert task(hold_up, backend=backend, n_jobs=1, concurrency=1, item_timeout=60)(range(3)) == [0, 1, 2]
        (line,) = [line for line in notes(path) if "held up" in line]
        assert "hold_up: item 1 held up the event loop of its worker for 1." in line


class Session:
    """A resource that only ``async with`` enters."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop: Any = None

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        note(self.path, "opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0.01)
        note(self.path, "closed")


class TestResources:
    """The option ``per_worker``."""

    @pytest.mark.parametrize(
        ("backend", "ending"),
        [
            pytest.param(backend, ending, marks=[pytest.mark.nightly] if (backend, ending) == ("loky", "badly") else [])
            for backend in LOCAL
            for ending in ("well", "badly")
        ],
    )
    def test_entered_and_left(self, backend: str, ending: str, tmp_path: Path) -> None:
        """An asynchronous resource is entered once in each worker's loop and left in it, after a failed run too."""
        path = tmp_path / "session"

        async def use(item: int, session: Session, plain: str) -> str:
            assert session.loop is asyncio.get_running_loop()
            await asyncio.sleep(0.01)
            if ending == "badly" and item == 5:
                raise LookupError
            return plain

        @contextmanager
        def plain() -> Iterator[str]:
            yield "plain"
            note(path, "left")

        make = task(use, backend=backend, per_worker={"session": partial(Session, path), "plain": plain})
        if ending == "well":
            assert make(range(20)) == ["plain"] * 20
        else:
            with pytest.raises(LookupError):
                make(range(20))
        seen = notes(path)
        assert seen.count("opened") == seen.count("closed") == seen.count("left") in (1, 2)

    @local_by_day
    def test_generator(self, backend: str) -> None:
        """One made by ``asynccontextmanager`` is what the item gets."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[int]:
            await asyncio.sleep(0)
            yield 7

        async def use(item: int, session: int) -> int:
            return item + session

        assert task(use, backend=backend, per_worker={"session": opened})([1, 2]) == [8, 9]

    @local_by_day
    def test_refused(self, backend: str) -> None:
        """One that can't be entered ends the run, by its name."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[int]:
            await asyncio.sleep(0)
            raise ConnectionError("no route")
            yield 7

        async def use(item: int, session: int) -> int:
            return item + session

        with pytest.raises(ConnectionError, match="no route") as caught:
            task(use, backend=backend, per_worker={"session": opened})(range(5))
        assert "while per_worker 'session' was set up" in caught.value.__notes__[0]


class TestContext:
    """What belongs to one item."""

    @local_by_day
    def test_index(self, backend: str) -> None:
        """Each item is known by its position, in threads that it starts too, whichever runs beside it."""

        async def see(_item: int) -> tuple[Any, Any, Any]:
            before = current_item()
            await asyncio.sleep(0.001)
            return before, current_item(), await asyncio.to_thread(current_item)

        assert task(see, backend=backend, concurrency=8)(range(40)) == [(item,) * 3 for item in range(40)]

    @local_by_day
    def test_variables(self, backend: str) -> None:
        """A context variable that an item sets is its own; decimal's is one."""
        assert task(set_mine, backend=backend, concurrency=3)(range(20)) == [(28, 1 + item) for item in range(20)]

    @local_by_day
    def test_checkpoint(self, backend: str, tmp_path: Path) -> None:
        """Items that have ended are kept though one of their chunk has not, and a later try runs the others alone."""
        ran, fixed = tmp_path / "ran", tmp_path / "fixed"

        async def work(item: int) -> int:
            note(ran, item)
            if item == 7 and not fixed.exists():
                await asyncio.sleep(0.5)
                raise LookupError
            await asyncio.sleep(0.001)
            return item

        run = task(work, backend=backend, checkpoint=str(tmp_path / "kept"), concurrency=4)
        with pytest.raises(LookupError):
            run(range(40))
        fixed.touch()
        before = len(notes(ran))
        assert run(range(40)) == list(range(40))
        assert len(notes(ran)) - before < 20


async def set_mine(item: int) -> tuple[int, int]:
    before = decimal.getcontext().prec
    decimal.setcontext(decimal.Context(prec=1 + item))
    await asyncio.sleep(0.001)
    return before, decimal.getcontext().prec


@local_by_day
def test_nothing_is_left(backend: str) -> None:
    """After a run no thread and no process of it is there any more."""
    before = threading.active_count()
    assert task(double, backend=backend)(range(50)) == [2 * item for item in range(50)]
    assert not worker_processes()
    assert eventually(lambda: threading.active_count() <= before + (backend == "loky"))


def test_frozen_clock() -> None:
    """A unit test that stops the clock gets results, and waits that end."""
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2026-01-01"):
        assert task(double, backend="threading")(range(5)) == [0, 2, 4, 6, 8]


def test_loops_of_a_registered_backend_are_closed() -> None:
    """A run that fails on threads of somebody else's backend leaves no loop behind, of which Python would complain."""
    done = run_python("""
import asyncio
import joblib
from joblib._parallel_backends import ThreadingBackend
from airflow_joblib import parallel_task

class Other(ThreadingBackend):
    pass

joblib.register_parallel_backend("other", Other)

@parallel_task(backend="other", n_jobs=2, batch_size=2, concurrency=2)
async def work(item):
    await asyncio.sleep(0.05)
    if item == 2:
        raise LookupError(item)
    return item

try:
    work(range(20))
except LookupError as error:
    print(repr(error))
""")
    assert (done.stdout, done.stderr) == ("LookupError(2)\n", "")
