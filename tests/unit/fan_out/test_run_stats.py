"""What a run says at its end: where its time went, what was slow, and which option would help."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.fan_out import progress
from airflow_joblib.fan_out.progress import Progress
from airflow_joblib.fan_out.run_stats import RunStats, Times
from airflow_joblib.wire.records import ItemError, Report
from airflow_joblib.worker.loading import Loading
from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="airflow_joblib")
    return caplog


def report(worker: int, began: float, seconds: float, **more: Any) -> Report:
    return Report(0, worker, [1], began=began, seconds=seconds, **more)


def test_waits_for_a_retry_are_no_sending() -> None:
    """Time in which only items that failed were left, and had to wait, is named as that."""
    stats = RunStats("f", 0.0)
    stats.add(report(1, 0.1, 0.9))
    stats.add(report(2, 0.1, 0.9))
    stats.wait_for_retry(20.0, under_way=0)
    stats.add(report(1, 21.0, 1.0))
    times = stats.times(2, 22.0)
    assert times.retrying == pytest.approx(20.0)
    assert times.sending < 0.5
    assert sum(times[2:]) == pytest.approx(22.0)
    assert "waiting for retries 20.00 s" in stats.breakdown(2, times)


def test_workers_that_are_started_while_the_first_one_runs() -> None:
    """Their start is no sending: on the average each waits for half of all."""
    stats = RunStats("f", 0.0)
    stats.starting = 3.0
    for worker in range(1, 5):
        stats.add(report(worker, 0.2 + worker - 1, 0.1))
    times = stats.times(4, 3.4)
    assert times.start == pytest.approx(1.7)
    assert sum(times[2:]) == pytest.approx(3.4)
    assert "starting the workers took 1.70 s" in stats._advice("multiprocessing", times)


def test_waits_for_the_rate() -> None:
    """They are neither sending nor running, and a plain loop that keeps the rate has them as well."""
    stats = RunStats("f", 0.0, rate=2.0)
    for place in range(10):
        stats.add(report(1 + place % 2, 0.5 * place, 0.1, cpu=0.1, rate_waited=0.8))
    times = stats.times(2, 5.5)
    assert times.rate == pytest.approx(4.0)
    assert times.running == pytest.approx(0.5)
    assert times.one_by_one == pytest.approx(4.5)
    assert sum(times[2:]) == pytest.approx(5.5)
    assert "waiting for the rate 4.00 s" in stats.breakdown(2, times)
    assert stats.breakdown(1, times).endswith("(waiting for the rate 4.00 s)")


def test_waits_beside_running_items() -> None:
    """Where one of two workers runs an item, only the other one has waited."""
    stats = RunStats("f", 0.0)
    stats.add(report(1, 0.0, 10.0))
    stats.wait_for_retry(10.0, under_way=1)
    assert stats.times(2, 10.0).retrying == pytest.approx(5.0)


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_retries_in_a_run(backend: str, lines: pytest.LogCaptureFixture) -> None:
    """A run whose items wait for their next try says so, and the slowest item has its failed tries in it."""
    tried: list[int] = []

    def once(item: int) -> int:
        if item == 2 and tried.count(item) < 2:
            tried.append(item)
            time.sleep(0.2)
            raise ValueError
        return item

    parallel_task(n_jobs=2, backend=backend, item_retries=2, item_retry_delay=0.2)(once).map([1, 2, 3])
    last = lines.messages[-1]
    assert "the slowest item, 1, took 0.4" in last
    if backend == "threading":
        waited = float(last.partition("waiting for retries ")[2].partition(" s")[0])
        sending = float(last.partition("sending ")[2].partition(" s")[0])
        assert waited > 0.5 > sending


def test_slowest_item_that_failed_for_good() -> None:
    """All tries of an item count, be it done in the end or not."""
    stats = RunStats("f", 0.0)
    stats.add(report(1, 0.0, 1.0, slowest=7, slowest_seconds=0.9))
    for began in (1.0, 2.0, 3.0):
        failures = [ItemError(3, ValueError(), seconds=0.5)]
        stats.add(report(1, began, 0.5, failures=failures, slowest=3, slowest_seconds=0.5))
    assert "the slowest item, 3, took 1.50 s" in stats.breakdown(1, stats.times(1, 4.0))


class Items:
    total: int | None = 100
    done = 99
    earlier = skipped = failed = retried = 0
    wait = 20.0
    rate_limit: float | None = None


def test_time_left_counts_waits(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left takes at least as long as the last item waits for its next try."""
    monkeypatch.setattr(progress, "BEAT", 0.0)
    with Progress("f", Items()) as shown:
        shown.update()
    assert lines.messages[0].endswith(", 20 s left, 20 s of it until the last retry")


def test_time_left_counts_the_rate(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left takes at least as long as the rate makes it, however quick the first items were."""
    monkeypatch.setattr(progress, "BEAT", 0.0)
    monkeypatch.setattr(Items, "wait", 0.0)
    monkeypatch.setattr(Items, "rate_limit", 0.1)
    monkeypatch.setattr(Items, "total", 105)
    with Progress("f", Items()) as shown:
        shown.update()
    assert lines.messages[0].endswith(" 60 s left")


def test_time_left_is_never_none(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as something is left, so is a second."""
    monkeypatch.setattr(progress, "BEAT", 0.0)
    monkeypatch.setattr(Items, "wait", 0.0)
    with Progress("f", Items()) as shown:
        time.sleep(0.01)
        shown.update()
    assert lines.messages[0].endswith(" 1 s left")


def advice(backend: str, times: Times, cpu: float, waited: float) -> str:
    stats = RunStats("f", 0.0)
    stats.add(report(1, times.start, times.running, cpu=cpu, waited=waited))
    return stats._advice(backend, times)


def test_advice_agrees() -> None:
    """For the same work one backend never advises another that advises the first."""
    for work in (0.01, 0.1, 0.5, 1.5):
        processes = Times(work + 3, work, 3.0, work / 2, 0.0, 0.0, 0.0)
        threads = Times(work + 0.2, work, 0.0, work, 0.0, 0.0, 0.2)
        assert "threading" not in advice("loky", processes, work, 0.0)
        assert "n_jobs=1" in advice("loky", processes, work, 0.0)
        assert "loky" not in advice("threading", threads, work, 0.0)
        assert "threading" in advice("loky", processes, 0.0, work)
        assert "threading" not in advice("threading", processes, 0.0, work)
    assert "loky" in advice("threading", Times(9.0, 8.0, 0.0, 4.0, 0.0, 0.0, 0.2), 8.0, 0.0)


def test_long_start_is_explained() -> None:
    """What workers imported before their first item is named where it took a second or more."""
    stats = RunStats("f", 0.0)
    stats.add(report(1, 10.0, 0.1, loading=9.2, loaded="airflow"))
    times = stats.times(2, 10.2)
    assert stats.breakdown(2, times).endswith("; workers spent 9 s importing airflow")
    assert "took 10.00 s (workers spent 9 s importing airflow)" in stats._advice("loky", times)


def test_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package with the most new modules is named; what is quick is not."""
    loading = Loading()
    with loading.measured():
        pass
    assert (loading.seconds, loading.package) == (0.0, "")
    (tmp_path / "slowly_loaded.py").write_text("import time\ntime.sleep(0.6)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with loading.measured():
        __import__("slowly_loaded")
    assert loading.package == "slowly_loaded"
    assert loading.seconds >= 0.6


def test_slow_import_in_workers(tmp_path: Path) -> None:
    """A run whose workers import for long says so at its end."""
    (tmp_path / "slowly.py").write_text("import time\ntime.sleep(1.2)\ndef f(n):\n    return n\n")
    code = """
import logging, slowly
from airflow_joblib import parallel_task
logging.basicConfig(level=logging.INFO)
print(parallel_task(n_jobs=2, backend="loky")(lambda n: slowly.f(n)).map([1, 2]))
"""
    done = run_python(code, {"PYTHONPATH": str(tmp_path)})
    assert "s importing slowly" in done.stderr
    assert done.stdout.strip() == "[1, 2]"
