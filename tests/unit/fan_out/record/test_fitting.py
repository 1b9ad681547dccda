"""The document of a task's runs: small, whatever the runs were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_joblib.fan_out.record.fitting import BYTES, RUNS, document

texts = st.text(max_size=40)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """Give a run of any size: many workers, many entries, long texts in any script."""
    workers = draw(st.integers(0, 200))
    each = draw(st.integers(1, 1 + 400 // max(1, workers)))
    word = draw(texts) * draw(st.integers(0, 50))
    long = {"index": 123456789, "item": word[:300], "error_type": word[:300], "message": word[:2000], "tries": 3}
    timeline = [
        [w, n * 100.001, n * 100.001 + 99.999, 987654, 123456, 12345] for w in range(workers) for n in range(each)
    ]
    slowest = [{"index": 123456, "label": word[:300], "seconds": 12345.123456}] * draw(st.integers(0, 20))
    return run(timeline=timeline, slowest=slowest, failures=[long] * draw(st.integers(0, 100)))


def run(**more: Any) -> dict[str, Any]:
    """Make a run as a recorder does."""
    return {
        "function": "thumbnail",
        "backend": "multiprocessing",
        "workers": 4,
        "state": "success",
        "timeline": [],
        "durations": {"edges": [0.0] * 32, "counts": [123456789] * 31},
        "slowest": [],
        "failures": [],
        **more,
    }


def counted(entries: list[list[Any]]) -> tuple[int, int]:
    return sum(entry[4] for entry in entries), sum(entry[5] for entry in entries)


@given(st.lists(runs(), max_size=12))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_size_and_sums(given: list[dict[str, Any]]) -> None:
    """The document fits whatever the runs hold, has the last ten, and counts what they count."""
    made = document(given)
    assert len(json.dumps(made)) <= BYTES
    assert made["version"] == 1
    assert [counted(one["timeline"]) for one in made["runs"]] == [counted(one["timeline"]) for one in given[-RUNS:]]


def test_small_runs_are_left_alone() -> None:
    """What fits is shown as it is, even beside a run that does not."""
    failure = {"index": 1, "item": "x" * 50, "error_type": "ValueError", "message": "y" * 2000, "tries": 1}
    small, large = run(failures=[failure]), run(failures=[failure] * 100)
    made = document([small, large])
    assert made["runs"][0] == small
    assert len(made["runs"][1]["failures"]) == 100
    assert made["runs"][1]["failures"][0]["message"] == "y" * 297 + "..."


@pytest.mark.parametrize("number", [1, 10])
def test_too_many_workers(number: int) -> None:
    """Where there are more workers than can be shown, they share rows."""
    timeline = [[worker, 0.001, 12345.678, 1_000_000, 10_000, 10] for worker in range(600)]
    made = document([run(timeline=timeline)] * number)
    assert len(json.dumps(made)) <= BYTES
    assert counted(made["runs"][0]["timeline"]) == counted(timeline)
