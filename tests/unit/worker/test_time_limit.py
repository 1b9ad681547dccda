"""The limit of one try: an alarm in the main thread, an exception from outside in any other one."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.exceptions import ItemTimeoutError
from airflow_joblib.worker.time_limit import limited
from tests.unit.helpers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(300, method="thread")  # the other method is such a timer itself

#: Seconds that nothing here takes, unless it is ended.
LONG = 300.0


def spin(seconds: float) -> float:
    """Run Python code for a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


class Outer(BaseException):
    """What an outer timer raises, as Airflow's does."""


@contextmanager
def outer_timer(seconds: float) -> Iterator[list[float]]:
    """Set an outer timer, as ``execution_timeout`` does; gives when it rang."""
    rang: list[float] = []

    def ring(*_: object) -> None:
        rang.append(time.monotonic())
        raise Outer

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield rang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TestMainThread:
    """Where worker processes run their items."""

    @pytest.mark.parametrize("work", [time.sleep, spin, lambda _: threading.Event().wait(LONG)])
    def test_ends(self, work: Callable[[float], Any]) -> None:
        """A system call and Python code end at the limit, and no timer is left."""
        before = signal.getsignal(signal.SIGALRM)
        with pytest.raises(ItemTimeoutError) as caught:
            limited(work, 0.2)(LONG)
        assert caught.value.seconds == 0.2
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        assert signal.getsignal(signal.SIGALRM) is before

    def test_value_and_exception(self) -> None:
        """What is in time comes back as it is, and so does its exception; no timer is left."""
        assert limited(abs, 60)(-3) == 3
        with pytest.raises(TypeError, match="abs"):
            limited(abs, 60)("x")
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_no_limit(self) -> None:
        """Without a limit the function is the function."""
        assert limited(abs, None) is abs

    def test_item_may_clean_up(self) -> None:
        """The item sees the exception once, and may take its time to clean up."""
        seen: list[str] = []

        def work(_: object) -> None:
            try:
                time.sleep(LONG)
            finally:
                time.sleep(0.5)
                seen.append("cleaned up")

        with pytest.raises(ItemTimeoutError):
            limited(work, 0.1)(0)
        assert seen == ["cleaned up"]

    def test_earlier_outer_timer_wins(self) -> None:
        """An outer timer that is due before the limit ends the call in its own way."""
        with outer_timer(0.2) as rang, pytest.raises(Outer):
            limited(time.sleep, LONG)(LONG)
        assert len(rang) == 1

    def test_later_outer_timer_still_rings(self) -> None:
        """An outer timer that is due after the limit rings at its own time, however many calls were ended before."""
        began = time.monotonic()
        with outer_timer(1.5) as rang, pytest.raises(Outer):
            for _ in range(5):
                with suppress(ItemTimeoutError):
                    limited(time.sleep, 0.1)(LONG)
                assert limited(abs, 30)(-1) == 1  # comes before: the outer one is left alone
            assert not rang
            time.sleep(LONG)
        assert len(rang) == 1
        assert rang[0] - began >= 1.4

    def test_calls_that_end_at_the_limit(self) -> None:
        """Whatever the moment of the alarm, the call's value or the exception comes, and the outer timer goes on."""
        results = {"value": 0, "timeout": 0}
        with outer_timer(LONG):
            for number in range(300):
                seconds = 0.002 + number % 20 * 0.00002
                try:
                    assert limited(spin, 0.002)(seconds - 0.0002) == seconds - 0.0002
                    results["value"] += 1
                except ItemTimeoutError:
                    results["timeout"] += 1
                left, _ = signal.getitimer(signal.ITIMER_REAL)
                assert 0 < left < LONG
        assert sum(results.values()) == 300
        assert results["timeout"]


def in_thread(function: Callable[[], Any], seconds: float = 120) -> Any:
    """Run *function* in a thread of its own; what it returned, or the exception it raised."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "the thread hangs"
    return found[0]


class TestOtherThreads:
    """Where worker threads run their items."""

    def test_python_code_ends(self) -> None:
        """A loop in Python ends at the limit."""
        error = in_thread(lambda: limited(spin, 0.2)(LONG))
        assert isinstance(error, ItemTimeoutError)
        assert error.seconds == 0.2

    def test_call_into_the_system_ends_when_it_returns(self) -> None:
        """A sleep goes on to its end, and the exception comes after it."""
        slept: list[float] = []

        def work(seconds: float) -> None:
            try:
                time.sleep(seconds)
            finally:
                slept.append(time.monotonic())

        began = time.monotonic()
        error = in_thread(lambda: limited(work, 0.1)(1.0))
        assert isinstance(error, ItemTimeoutError)
        assert slept[0] - began >= 1.0

    def test_value_is_kept(self) -> None:
        """A C call that returns at its end beyond the limit, with nothing after it, gives its value or the error."""
        answers = [in_thread(lambda: limited(lambda _: 5, 60)(0)), in_thread(lambda: limited(abs, 1e-9)(-5))]
        assert answers[0] == 5
        assert answers[1] == 5 or isinstance(answers[1], ItemTimeoutError)

    @pytest.mark.slow
    def test_nothing_is_raised_after_the_call(self) -> None:
        """However near the limit a call ends, nothing is raised once it has returned, and nothing stays locked."""

        def run() -> dict[str, int]:
            ends = {"value": 0, "timeout": 0}
            for number in range(200):
                try:
                    limited(spin, 0.005)(0.004 + number % 20 * 0.0001)
                    ends["value"] += 1
                except ItemTimeoutError as error:
                    assert error.seconds == 0.005
                    ends["timeout"] += 1
                spin(0.002)  # what came too late would be raised here
            return ends

        assert sum(in_thread(run).values()) == 200

    def test_many_threads(self) -> None:
        """Many threads have their own limits at once: all that are too long end, no other one does."""

        def run(seconds: float) -> object:
            try:
                return limited(wait, seconds)(seconds == 60)
            except ItemTimeoutError as error:
                return error.seconds

        def wait(short: bool) -> str:
            until = time.monotonic() + (0.5 if short else LONG)
            while time.monotonic() < until:
                time.sleep(0.01)
            return "value"

        answers: dict[int, object] = {}

        def note(number: int) -> None:
            answers[number] = run(60 if number % 2 else 1 + number / 100)

        threads = [threading.Thread(target=note, args=(number,), daemon=True) for number in range(60)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(answers) == 60, 120)
        assert answers == {number: "value" if number % 2 else 1 + number / 100 for number in range(60)}

    def test_nested(self) -> None:
        """A limit within a limit: the inner one ends what is inside, the outer one the rest."""

        def outer(_: object) -> None:
            with suppress(ItemTimeoutError):
                limited(spin, 0.1)(LONG)
            spin(LONG)

        error = in_thread(lambda: limited(outer, 1.0)(0))
        assert isinstance(error, ItemTimeoutError)
        assert error.seconds == 1.0
