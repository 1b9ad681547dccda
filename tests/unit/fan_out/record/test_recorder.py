"""The record of a run: what it says of runs of every size, on every backend."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import NotPicklableError
from airflow_joblib.fan_out.host import Figures, Host, RunDisplay
from airflow_joblib.fan_out.record import live
from airflow_joblib.fan_out.record.fitting import BYTES, document
from airflow_joblib.options.options import Defaults
from airflow_joblib.system import clock
from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Watching(Host):
    """A host that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[dict[str, Any], bool]] = []
        self.figures: list[Figures] = []

    def run_display(self) -> RunDisplay:
        def show(record: Mapping[str, Any], /, *, over: bool) -> None:
            self.shown.append((dict(record), over))

        return show

    def measure(self, figures: Figures) -> None:
        self.figures.append(figures)

    @property
    def last(self) -> dict[str, Any]:
        record, over = self.shown[-1]
        assert over
        assert [over for _, over in self.shown].count(True) == 1
        assert len(json.dumps(document([record]))) <= BYTES
        return record


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Watching:
    host = Watching()
    monkeypatch.setattr("airflow_joblib.taskflow.surroundings.host", lambda: host)
    return host


def text(item: int) -> str:
    """Do next to nothing."""
    return str(item)


def sums(record: dict[str, Any]) -> tuple[int, int, int]:
    """Add up tries in the timeline, failed ones among them, and tries in the histogram."""
    timeline = record["timeline"]
    counts = record["durations"]["counts"]
    assert len(record["durations"]["edges"]) == (len(counts) + 1 if counts else 0)
    return sum(entry[4] for entry in timeline), sum(entry[5] for entry in timeline), sum(counts)


@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
@pytest.mark.parametrize("number", [0, 1, 1000])
def test_sums(number: int, backend: str, host: Watching) -> None:
    """Every item is counted once: in the numbers, in the timeline and in the histogram."""
    task(text, backend=backend)(range(number))
    record = host.last
    counts = {"total": number, "done": number, "failed": 0, "skipped": 0, "earlier": 0, "retried": 0}
    assert record["items"] == counts
    assert sums(record) == (number, 0, number)
    assert record["state"] == "success"
    assert record["began"] <= record["ended"] == record["updated"]
    assert number or record["backend"] == "sequential"
    assert all(index in range(number) for index in (item["index"] for item in record["slowest"]))


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_a_million_items(lazy: bool, host: Watching) -> None:
    """A million items have a record that is no larger, and as true."""
    items = range(1_000_000)
    task(no_op, label=str)(iter(items) if lazy else items)
    assert sums(host.last) == (1_000_000, 0, 1_000_000)
    assert host.last["items"]["done"] == 1_000_000


def no_op(item: int) -> None:
    """Do nothing."""


@pytest.mark.parametrize("backend", LOCAL)
def test_failures_and_retries(backend: str, host: Watching) -> None:
    """Failures are counted as items, and each failed try in the timeline."""

    def fail_tens(item: int) -> int:
        if item % 10 == 0:
            raise LookupError(f"no {item}")
        return item

    task(fail_tens, backend=backend, max_failures=5, item_retries=1, label=lambda item: f"number {item}")(range(30))
    record = host.last
    assert record["items"] == {"total": 30, "done": 27, "failed": 3, "skipped": 0, "earlier": 0, "retried": 3}
    assert sums(record) == (33, 6, 33)
    assert [failure["index"] for failure in record["failures"]] == [0, 10, 20]
    message = {"item": "number 10", "error_type": "LookupError", "message": "no 10", "tries": 2}
    assert record["failures"][1] == {"index": 10, **message}


@pytest.mark.parametrize("backend", LOCAL)
def test_failed_run(backend: str, host: Watching) -> None:
    """A run that its first failure ends has that failure in its record."""

    def fail(item: int) -> int:
        raise LookupError(f"no {item}")

    with pytest.raises(LookupError):
        task(fail, backend=backend)([7])
    record = host.last
    assert record["state"] == "failed"
    assert record["items"]["failed"] == 1
    (failure,) = record["failures"]
    assert failure == {"index": 0, "item": "7", "error_type": "LookupError", "message": "no 7", "tries": 1}
    assert sums(record)[:2] == (1, 1)


@pytest.mark.parametrize("lazy", [False, True])
def test_slowest(lazy: bool, host: Watching) -> None:
    """The slowest items come first, by name, whether all items are known or drawn one by one."""
    items = [0.0] * 50 + [0.05, 0.1] + [0.0] * 50
    task(clock.pause, backend="threading", label=lambda seconds: f"{seconds} s")(iter(items) if lazy else items)
    first, second, *_ = host.last["slowest"]
    assert (first["index"], first["label"], second["index"], second["label"]) == (51, "0.1 s", 50, "0.05 s")
    assert first["seconds"] >= 0.1 > second["seconds"] >= 0.05
    assert len(host.last["slowest"]) <= 20


def test_at_most_twenty_slow_ones(host: Watching) -> None:
    """Of many slow items the slowest twenty are shown, each once."""
    items = [0.0005] * 40 + [0.1] * 20
    task(clock.pause, backend="threading", batch_size=1)(items)
    indices = [item["index"] for item in host.last["slowest"]]
    assert sorted(indices) == list(range(40, 60))


def test_written_while_it_runs(host: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that lasts is shown while it goes on, from a thread that ends with it."""
    monkeypatch.setattr(live, "EVERY", 0.1)
    monkeypatch.setattr(live, "_TIMES", 1.0)
    threads = set(threading.enumerate())
    task(clock.pause, backend="multiprocessing")([0.05] * 20)
    running = [record for record, over in host.shown if not over]
    assert len(running) >= 2
    assert {record["state"] for record in running} == {"running"}
    assert [record["items"]["done"] for record in running] == sorted(record["items"]["done"] for record in running)
    assert running[-1]["seconds_left"] is not None
    assert host.last["seconds_left"] is None
    assert set(threading.enumerate()) <= threads


def test_short_run_is_written_once(host: Watching) -> None:
    """A run that takes less than two seconds is written at its end only."""
    task(text, backend="threading")(range(10))
    assert [over for _, over in host.shown] == [True]


def test_write_that_hangs(host: Watching, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A write that never returns holds up neither items nor, for long, the end of the run, which the log tells."""
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    released = threading.Event()

    def hang(record: Mapping[str, Any], /, *, over: bool) -> None:
        released.wait(60)

    monkeypatch.setattr(host, "run_display", lambda: hang)
    try:
        assert task(text, backend="threading")(range(100)) == [str(item) for item in range(100)]
        assert sum("takes longer than" in message for message in caplog.messages) == 1
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "record of a run"]
    finally:
        released.set()
    thread.join(10)
    assert not thread.is_alive()


class Unloadable:
    """A result that can't be loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_result_that_cannot_be_loaded(host: Watching) -> None:
    """The try counts, and spoils neither the timeline nor where the time went."""

    def some(item: int) -> object:
        clock.pause(0.02)
        return item if item % 5 else Unloadable()

    task(some, backend="multiprocessing", batch_size=1, max_failures=10)(range(20))
    record = host.last
    assert sums(record) == (20, 4, 20)
    assert record["items"]["failed"] == 4
    assert record["time"]["start"] > 0
    assert record["time"]["running"] < 10
    assert all(0 <= start <= end < 60 for _, start, end, *_ in record["timeline"])


def upstream() -> Iterator[int]:
    """Break before the first item."""
    raise LookupError("upstream")
    yield 1


@pytest.mark.parametrize(
    ("items", "error"),
    [(upstream, LookupError), (lambda: [threading.Lock()], NotPicklableError)],
    ids=["input", "check"],
)
def test_run_that_ends_before_its_first_item(
    items: Callable[[], Iterable[Any]], error: type[Exception], host: Watching
) -> None:
    """A run that fails before an item has run has a record as well."""
    with pytest.raises(error):
        task(no_op, backend="multiprocessing")(items())
    assert host.last["state"] == "failed"
    assert host.last["items"]["done"] == 0


def test_slow_label_of_a_lazy_input(host: Watching) -> None:
    """Items are named when the record is shown, not while the run goes on."""
    named: list[str] = []

    def label(item: float) -> str:
        named.append(threading.current_thread().name)
        return str(item)

    task(clock.pause, backend="threading", label=label)(iter([0.02] * 50))
    assert 1 <= len(named) <= 20
    assert set(named) == {"record of a run"}


def test_turned_off(host: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """With record = False nothing is shown; metrics are another matter."""
    monkeypatch.setattr("airflow_joblib.taskflow.surroundings.defaults", lambda: Defaults(record=False))
    task(text, backend="threading")(range(10))
    assert host.shown == []
    assert [figures.items["done"] for figures in host.figures] == [10]


def test_items_inside_items(host: Watching) -> None:
    """What an item runs by itself has no record of its own: the task's run is what is shown."""
    inner = task(text, backend="threading")
    task(lambda item: inner(range(item)), backend="threading")([1, 2, 3])
    assert host.last["function"] == "<lambda>"
    assert len(host.shown) == 1
