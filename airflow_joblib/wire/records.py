"""What became of items: the records that cross from a worker to the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from airflow_joblib.pickling.pickler import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.system.native_threads import Bound
    from airflow_joblib.system.warning_filters import WarningFilter
    from airflow_joblib.wire.shared_pickle import Sent
    from airflow_joblib.wire.tracebacks import Trace

__all__ = ["ItemError", "Payload", "Report", "Rules", "Verdict", "load_report"]

#: What an item's exception means for the run: the item may be tried again, has failed for good, or ends the run.
Verdict = Literal["retry", "fail", "end"]


class Rules(NamedTuple):
    """How a worker goes about a chunk.

    Attributes:
        strict: Whether the first failure ends the run, so that no further item starts.
        seconds: After so long a worker hands back what it has, and the rest of the chunk unstarted.
        timeout: Seconds that one try of one item may take; None for any.
        rate: Items that may start in a second, in all workers together; None for any number.
        workers: How many workers have part in that.
        concurrency: Items of an asynchronous function that one worker runs at a time; 0 for a plain function.
    """

    strict: bool = True
    seconds: float = float("inf")
    timeout: float | None = None
    rate: float | None = None
    workers: int = 1
    concurrency: int = 0


class Payload(NamedTuple):
    """What every worker process gets, once.

    Attributes:
        call: The pickled call, or where it lies.
        classes: The pickled classes that items refer to by key, or where they lie.
        prepare: What the worker runs first; can be pickled. On a cluster it returns the run's session there.
        task: Process id of the task.
        local: Whether the workers are the task's children.
        rules: How to go about a chunk.
        threads: Bound of the threads that libraries start in a worker; None to leave them.
        status_board: Where the worker notes which item it runs; empty where that is not seen.
        closed: Whether the workers are to be closed to other processes of their user, as the task is.
        filters: The caller's warning filters, for workers that have not inherited them.
        run: Unique id of this pool; shared-memory paths can be reused.
        start_method: How processes that items start are started, as in the task; None for Python's default.
        connects: Where a worker of an asynchronous function hands over its connection; an empty path for none.
    """

    call: bytes | Sent
    classes: bytes | Sent = b""
    prepare: Callable[[], Any] | None = None
    task: int = 0
    local: bool = False
    rules: Rules = Rules()
    threads: Bound | None = None
    status_board: str = ""
    run: str = ""
    closed: bool = False
    filters: Sequence[WarningFilter] = ()
    start_method: str | None = None
    connects: str = ""


@dataclass(slots=True)
class ItemError:
    """What became of an item, or of a resource's set-up, that raised.

    Attributes:
        index: Position of the item in the input; -1 for a resource, or for the function where it could not be loaded.
        error: The exception.
        trace: The worker's traceback; None where the exception still has its own.
        resource: Name of the ``per_worker`` resource whose set-up failed.
        seconds: Time that the try took.
        returned: Whether the item raised nothing, and its result is what can't be used.
        loading: Whether it was raised as a worker loaded the function, or the item, and not by the item itself.
        verdict: What it means for the run.
        after: Seconds before which it must not be tried again; None where it has not said so.
    """

    index: int
    error: BaseException
    trace: Trace | None = None
    resource: str = ""
    returned: bool = False
    loading: bool = False
    verdict: Verdict = "retry"
    seconds: float = 0.0
    after: float | None = None


@dataclass(slots=True)
class Report:
    """What became of one chunk.

    Attributes:
        first: Position of the chunk's first item in the input.
        worker: Process id of the worker.
        values: Results of the items that ran, in order, None in the place of one that failed or was skipped. Items of
            the chunk beyond its end have not run.
        failures: The failures among them.
        skipped: Positions in the input of those that were skipped, with the first such exception.
        skip: That exception.
        positions: Positions in the input of the items that it is about, where those are not the chunk's first ones:
            of an asynchronous function they end in any order, and some may have been cancelled.
        began: When the worker took the chunk up, by the machine's monotonic clock in seconds.
        seconds: Time that the chunk took in the worker, without what it waited for the rate.
        cpu: Processor time of it.
        waited: Time of it that the items waited by themselves, not for a processor.
        rate_waited: Seconds that it waited until items might start by the rate.
        rate_waited_first: Those of them before its first item.
        thread: The worker's thread.
        slowest: Position in the input of its slowest item.
        slowest_seconds: Time that one took.
        slow: Seconds and position of each try that was not quick (:mod:`airflow_joblib.wire.durations`); when the
            report is sent, of the slowest ones.
        durations: How many tries took how long: number by the place in the histogram.
        loading: Seconds that the worker took to load the call before its first chunk, where that is worth a word.
        loaded: The package that it imported the most of in that time.
        unreadable: Whether the chunk, or its report, could not be loaded as a whole: its items must be sent one by one.
        log_lines: What the items logged, for the task's log, where the worker has no other way to send that.
    """

    first: int
    worker: int
    values: list[Any] = field(default_factory=list)
    failures: list[ItemError] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    skip: ItemError | None = None
    positions: Sequence[int] | None = None
    began: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    waited: float = 0.0
    rate_waited: float = 0.0
    rate_waited_first: float = 0.0
    thread: int = 0
    slowest: int = -1
    slowest_seconds: float = 0.0
    slow: list[tuple[float, int]] = field(default_factory=list)
    durations: dict[int, int] = field(default_factory=dict)
    loading: float = 0.0
    loaded: str = ""
    unreadable: bool = False
    log_lines: list[bytes] = field(default_factory=list)

    @property
    def ended(self) -> float:
        """When the worker had done with it, by the same clock as *began*."""
        return self.began + self.seconds + self.rate_waited


class Chunk(Protocol):
    """Items of one dispatch: their positions in the input, themselves, and their pickle for a worker process."""

    indices: Sequence[int]

    @property
    def items(self) -> Sequence[Any]:
        """The items."""
        ...

    @property
    def data(self) -> bytes:
        """The pickled items."""
        ...


def load_report(result: bytes, chunk: Chunk) -> Report:
    """Load a chunk's report; where that fails, report it of the one item, or that items must be sent one by one."""
    try:
        return loads(result)  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001 - loading runs code of the user
        report = Report(chunk.indices[0], 0, unreadable=len(chunk.indices) > 1)
        if not report.unreadable:
            report.values.append(None)
            report.failures.append(ItemError(report.first, error, verdict="fail"))
        return report
