"""The figures of a run where Airflow's own go: StatsD or OpenTelemetry, and the span of the task."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.relay.worker_context import task_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_joblib.fan_out.host import Figures

__all__ = ["measure"]

log = logging.getLogger("airflow_joblib")

#: Times of items that are sent for one run, at most: so many that their percentiles are those of all.
_SAMPLE = 100


def measure(figures: Figures) -> None:
    """Send the figures of a run that is over."""
    try:
        _send(figures)
        _describe_span(figures)
    except Exception as error:  # noqa: BLE001 - a figure must not be why a task fails
        log.debug("The metrics of a run could not be sent: %s", error)


def _send(figures: Figures) -> None:
    stats = airflow_internals.stats()
    if stats is None:  # Airflow 3.1 has none in a task's process
        return
    tags = _tags(figures)
    for what in ("done", "failed", "retried", "skipped"):
        if count := figures.items[what]:
            stats.incr(f"joblib.items.{what}", count, tags=tags)
    stats.timing("joblib.run.seconds", timedelta(seconds=figures.seconds), tags=tags)
    for seconds in sample(figures.durations):
        stats.timing("joblib.item.seconds", timedelta(seconds=seconds), tags=tags)


def _tags(figures: Figures) -> dict[str, str]:
    ti = (task_context() or {}).get("ti")
    of_task = {} if ti is None else {"dag_id": ti.dag_id, "task_id": ti.task_id}
    return {**of_task, "backend": figures.backend}


def sample(durations: Sequence[tuple[float, int]]) -> Iterator[float]:
    """Yield no more than :data:`_SAMPLE` of the times, spread as all of them are."""
    total = sum(count for _, count in durations)
    most = min(total, _SAMPLE)
    passed = sent = 0
    for seconds, count in durations:
        passed += count
        while sent < most and (sent + 0.5) * total < passed * most:
            sent += 1
            yield seconds


def _describe_span(figures: Figures) -> None:
    trace: Any = sys.modules.get("opentelemetry.trace")
    span = None if trace is None else trace.get_current_span()
    if span is None or not span.is_recording():
        return
    counts = {f"joblib.items.{what}": count for what, count in figures.items.items()}
    own = {"function": figures.function, "backend": figures.backend, "workers": figures.workers}
    span.set_attributes({**{f"joblib.{name}": value for name, value in own.items()}, **counts})
    span.set_attribute("joblib.run.seconds", figures.seconds)
