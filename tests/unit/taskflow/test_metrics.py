"""The figures of a run, as they go to metrics and to a span."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib.fan_out.host import Figures
from airflow_joblib.taskflow.task import metrics

counts = {"total": 5, "done": 3, "failed": 2, "skipped": 1, "earlier": 0, "retried": 4}
figures = Figures("thumbnail", "loky", 2, "success", counts, 1.5, ((0.1, 3), (0.2, 2)))


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10_000)), max_size=30))
def test_sample(durations: list[tuple[float, int]]) -> None:
    """Few times stand for all: no more than a hundred, none that no item took, all of few items."""
    sent = list(metrics.sample(durations))
    total = sum(count for _, count in durations)
    assert len(sent) == min(total, 100)
    assert set(sent) <= {seconds for seconds, _ in durations}
    if total <= 100:
        assert sent == [seconds for seconds, count in durations for _ in range(count)]


def test_sample_has_the_same_percentiles() -> None:
    """The median of what is sent is that of all."""
    assert statistics.median(metrics.sample([(0.1, 40_000), (0.5, 59_000), (9.0, 1_000)])) == 0.5
    assert list(metrics.sample([(0.1, 99_000), (9.0, 1_000)])).count(9.0) == 1


def test_span() -> None:
    """A span that records gets the figures as attributes."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("task") as span:
        metrics._describe_span(figures)
    assert span.attributes == {
        "joblib.function": "thumbnail",
        "joblib.backend": "loky",
        "joblib.workers": 2,
        "joblib.run.seconds": 1.5,
        **{f"joblib.items.{name}": count for name, count in counts.items()},
    }


def test_no_span() -> None:
    """Without a span there is nothing to do."""
    metrics._describe_span(figures)
