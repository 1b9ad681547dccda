"""The lines about items that are tried again: a few in full, then few for many."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_joblib import parallel_task
from airflow_joblib.fan_out.failures import Failures
from airflow_joblib.fan_out.host import Host
from airflow_joblib.fan_out.retry_log import FIRST, PAUSE, RetryLog
from airflow_joblib.system import clock
from airflow_joblib.wire.call import Call
from airflow_joblib.wire.records import ItemError

if TYPE_CHECKING:
    import pytest


def test_lines_are_joined(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The first have a line each; what comes after is counted in one line every few seconds, and in one at the end."""
    now = [100.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    caplog.set_level(logging.INFO, logger="airflow_joblib")
    with RetryLog("fetch", 3, Failures(Call(abs), 0, Host())) as found:

        def fail(items: range) -> list[str]:
            caplog.clear()
            for item in items:
                found.add(ItemError(item, ConnectionError(f"no {item}")), item, 1, 0.25)
            return caplog.messages[:]

        first = fail(range(FIRST))
        assert len(first) == FIRST
        assert first[2] == "fetch: item 2 failed on try 1 of 3 and is tried again in 0.2 s: ConnectionError: no 2"
        assert fail(range(10, 47)) == []
        found.beat()
        assert not caplog.messages
        now[0] += PAUSE
        found.beat()
        (joined,) = caplog.messages
        assert joined == (
            "fetch: 37 more items failed and are tried again; the last: item 46 failed on try 1 of 3 and is tried "
            "again in 0.2 s: ConnectionError: no 46"
        )
        assert fail(range(50, 52)) == []
        now[0] += PAUSE
        assert fail(range(52, 53))[0].startswith("fetch: 3 more items failed and are tried again; the last: item 52")
        assert fail(range(60, 61)) == []
    assert caplog.messages == [
        "fetch: item 60 failed on try 1 of 3 and is tried again in 0.2 s: ConnectionError: no 60"
    ]


def test_summary_comes_last(caplog: pytest.LogCaptureFixture) -> None:
    """What has no line yet when the last item ends comes before the line that sums the run up."""
    caplog.set_level(logging.INFO, logger="airflow_joblib")
    tried: set[int] = set()

    @parallel_task(n_jobs=1, item_retries=1, item_retry_delay=0)
    def fetch(item: int) -> None:
        if item not in tried:
            tried.add(item)
            raise ConnectionError(item)

    fetch(range(FIRST + 2))
    assert "2 more items failed and are tried again" in caplog.messages[-2]
    assert f"{FIRST + 2} items on 1 worker" in caplog.messages[-1]
