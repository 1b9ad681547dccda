"""What threads of a run say in a worker of a cluster, beside threads of other runs and of nobody's."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.clusters.run_session import RunSession
from airflow_joblib.taskflow.cluster import worker_logs, worker_side
from airflow_joblib.taskflow.cluster.thread_route import current_route, unpacked
from airflow_joblib.taskflow.cluster.worker_side import SessionFactory, TaskSession
from airflow_joblib.taskflow.logs.levels import Levels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("shop.session")
LEVELS = Levels((("", logging.INFO), ("shop.loud", logging.DEBUG)), disabled=("shop.off",), structlog=(("", 20),))


def in_thread(work: Callable[[], Any]) -> Any:
    """Run *work* in a thread of its own, and return what it returns."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def told(lines: list[bytes]) -> list[tuple[str, str]]:
    """Return kind and message of lines."""
    return [(line["kind"], line.get("message", line.get("secret"))) for line in map(json.loads, lines)]


@pytest.fixture
def session() -> Iterator[TaskSession]:
    """A run in this process, with no channel."""
    made = SessionFactory("spark", None, {}, LEVELS)()
    assert isinstance(made, TaskSession)
    yield made
    made.leave()


def entered(session: RunSession, say: Callable[[], object]) -> list[tuple[str, str]]:
    """Return what a thread of a run says."""

    def work() -> list[tuple[str, str]]:
        session.enter()
        say()
        return told(session.take_log_lines())

    found: list[tuple[str, str]] = in_thread(work)
    return found


def speak() -> None:
    log.info("logged %d", 1)
    log.debug("not at this level")
    logging.getLogger("shop.loud.inner").debug("loud")
    logging.getLogger("shop.off").error("off")
    print("printed")
    warnings.warn("beware", UserWarning, stacklevel=1)


SPOKEN = [("logging", "logged 1"), ("logging", "loud"), ("stream", "printed"), ("stream", "\n"), ("warning", "beware")]


def test_only_threads_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What they say is the run's, at the task's levels; what any other thread says goes where it went before."""
    session = SessionFactory("dask", None, {}, LEVELS)()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = log.isEnabledFor(logging.INFO)
        assert entered(session, speak) == SPOKEN
        assert capsys.readouterr() == ("", "")
        print("mine")
        assert capsys.readouterr().out == "mine\n"
        assert log.isEnabledFor(logging.INFO) == before
    session.leave()


def test_two_runs() -> None:
    """Each gets what its own threads say; the first that leaves takes nothing from the other."""
    first, second = (SessionFactory("dask", None, {}, LEVELS)() for _ in range(2))
    assert entered(first, lambda: print("one", end="")) == [("stream", "one")]
    first.leave()
    assert entered(second, lambda: log.info("two")) == [("logging", "two")]
    second.leave()


def test_nothing_stays() -> None:
    """After the last run all is as it was, and threads that live on speak as any other."""
    places = [(logging.Logger, "isEnabledFor"), (logging.Logger, "callHandlers"), (warnings, "showwarning")]
    before = [getattr(owner, name) for owner, name in places], sys.stdout, sys.stderr, list(sys.meta_path)
    made = SessionFactory("dask", None, {}, LEVELS)()
    assert [getattr(owner, name) for owner, name in places] != before[0]
    made.leave()
    assert ([getattr(owner, name) for owner, name in places], sys.stdout, sys.stderr, list(sys.meta_path)) == before
    assert not worker_side._sessions
    assert not worker_side._undo


@pytest.mark.parametrize("place", [(worker_logs, "_replace_structlog"), (worker_side, "promise_runner")])
def test_nothing_stays_of_what_fails(monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]) -> None:
    """A run that can't begin, with a version here that is not known, leaves all as it was for others."""

    def fail(*_: object) -> None:
        raise ValueError("not known")

    monkeypatch.setattr(worker_logs, "_replace_structlog", bool)
    monkeypatch.setattr(*place, fail)
    monkeypatch.setattr(worker_side, "LOOK_FOR_RUNNER", ("json",))
    monkeypatch.setitem(sys.modules, "structlog", json)
    before = logging.Logger.isEnabledFor, logging.Logger.callHandlers, sys.stdout, list(sys.meta_path)
    with pytest.raises(ValueError, match="not known"):
        SessionFactory("dask", None, {}, LEVELS)()
    assert (logging.Logger.isEnabledFor, logging.Logger.callHandlers, sys.stdout, list(sys.meta_path)) == before
    assert not worker_side._undo


def test_threads_of_asyncio(session: TaskSession) -> None:
    """What an item starts by asyncio, or in a copy of its context, speaks for the item."""

    def say() -> None:
        asyncio.run(asyncio.to_thread(log.info, "from a thread of asyncio"))
        context = contextvars.copy_context()
        in_thread(lambda: context.run(log.info, "from a copy"))
        in_thread(lambda: log.info("from nobody's thread"))

    assert entered(session, say) == [("logging", "from a thread of asyncio"), ("logging", "from a copy")]


def test_much_is_sent_before_the_end() -> None:
    """An item that says much sends it, in order, and keeps little of it."""
    sent: list[bytes] = []

    def ask(request: bytes, over: Callable[[], bool]) -> bytes:
        assert not over()
        sent.append(request)
        return b""

    made = SessionFactory("dask", ask, {}, LEVELS)()

    def say() -> None:
        for number in range(5000):
            log.info("%06d%s", number, "x" * 1000)

    kept = entered(made, say)
    made.leave()
    lines = [line for request in sent for line in request.splitlines()[1:]]
    assert len(sent) > 2
    assert max(map(len, sent)) < 3 << 20
    assert [int(message[:6]) for _, message in [*told(lines), *kept]] == list(range(5000))


def test_full(session: TaskSession) -> None:
    """Without a channel much that was said asks for the chunk to be handed back."""

    def work() -> list[bool]:
        session.enter()
        found = [session.full()]
        log.info("x" * (1 << 20))
        found.append(session.full())
        session.take_log_lines()
        return [*found, session.full()]

    assert in_thread(work) == [False, True, False]


def test_the_task_itself() -> None:
    """In the task's own process, where threads have all this already, nothing is put in place."""
    factory = SessionFactory("dask", None, {}, LEVELS)
    worker_side.made_here.add(factory.number)
    try:
        assert type(factory()) is RunSession
        assert not worker_side._sessions
    finally:
        worker_side.made_here.clear()


def test_structlog(session: TaskSession) -> None:
    """Events of structlog have their logger's name and level, also where this process would drop them."""
    structlog = pytest.importorskip("structlog")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=True)
    try:
        logger = structlog.get_logger("shop.structured")
        assert entered(session, lambda: (logger.info("current_route"), logger.debug("not at this level"))) == [
            ("structlog", "current_route")
        ]
        assert "bind" not in vars(logger)
    finally:
        structlog.reset_defaults()


@pytest.mark.slow
def test_flood_without_a_channel(session: TaskSession) -> None:
    """What can't be sent before the chunk's end is packed, loses nothing, and has the chunk handed back."""

    def work() -> list[bytes]:
        session.enter()
        for number in range(20_000):
            log.info("%s %d", "x" * 100, number)
        route = current_route.get()
        assert route is not None
        assert route.full
        return session.take_log_lines()

    said: list[bytes] = in_thread(work)
    assert sum(map(len, said)) < 2 << 20
    assert [message[101:] for _, message in told(list(unpacked(said)))] == [str(number) for number in range(20_000)]
