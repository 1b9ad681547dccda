"""The task's end of its workers' logs, in this process: what reaches structlog's processors of the lines that came."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from airflow_joblib.taskflow.logs.task_log import TaskLog, item_marks

pytestmark = pytest.mark.integration


def printed(text: str) -> bytes:
    data = {"kind": "stream", "logger": "task.stdout", "message": text, "created": 0.0}
    return json.dumps(data).encode()


def test_a_bad_line_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A line that can't be written is lost alone, with a warning; half a line, of a worker that was killed, without."""
    bad = (b'{"kind": "logging"}', b'{"kind": "warn', b"[]", b'{"kind": "new"}')
    with capture_logs() as events:
        log = TaskLog()
        for line in (*bad, printed("good\n"), None):
            log.take(1, line)
    assert [event["event"] for event in events if event.get("logger") == "task.stdout"] == ["good"]
    assert caplog.messages == ["A line of a worker's log is lost: KeyError"]


def test_from_many_threads_at_once() -> None:
    """Each worker's lines are put together from its own parts, and stay in order."""
    gate = threading.Barrier(8)

    def take(number: int) -> None:
        gate.wait(30)
        for index in range(100):
            log.take(number, printed(f"{number} "))
            log.take(number, printed(f"{index}\n"))
        log.take(number, printed("the end"))
        log.take(number, None)

    with capture_logs() as events:
        log = TaskLog()
        threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said: list[str] = [event["event"] for event in events]
    assert said.count("the end") == 8
    for number in range(8):
        own = [text for text in said if text.startswith(f"{number} ")]
        assert own == [f"{number} {index}" for index in range(100)]


def test_context_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are written in the context of the thread that began the run, whoever takes them."""
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []
    monkeypatch.setattr(TaskLog, "_write_line", lambda *_: seen.append(variable.get()))
    variable.set("of the run")
    thread = threading.Thread(target=TaskLog().take, args=(1, printed("one\n")))
    thread.start()
    thread.join()
    assert seen == ["of the run"]


def test_run_that_begins_or_ends_while_another_thread_logs() -> None:
    """No step of a line that is under way is left out, as that which masks secrets, and none is repeated."""
    steps: list[str] = []
    runs = ExitStack()

    def first(_logger: object, _method: str, event: Any) -> Any:
        steps.append("first")
        runs.close()
        return event

    def second(_logger: object, _method: str, event: Any) -> Any:
        steps.append("second")
        if len(steps) < 4:
            runs.enter_context(item_marks())
        return event

    def third(_logger: object, _method: str, event: Any) -> str:
        steps.append("third")
        return str(event)

    before = structlog.get_config()
    chain = [first, second, third]
    structlog.configure(processors=chain)
    try:
        for _ in range(2):  # one begins in the first line, and ends in the second
            structlog.get_logger("a logger").info("a line")
        runs.close()
    finally:
        structlog.configure(**before)
    assert steps == ["first", "second", "third"] * 2
    assert chain == [first, second, third]
