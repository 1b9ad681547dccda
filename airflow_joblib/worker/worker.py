"""What runs inside a worker, be it a process or a thread: chunks of items, one report each.

::

    call ─► Worker ── enters its resources at its first chunk
    chunk ─► run ─► Report: values, failures, skipped; what is left of the chunk has not run

Errors come back as values, never as exceptions of the pool: an exception that can't be unpickled would hang a
``multiprocessing`` pool for ever and break a loky pool without naming the item.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ItemTimeoutError, RetryItem
from airflow_joblib.system import clock
from airflow_joblib.system.thread_times import ThreadTimes
from airflow_joblib.wire.durations import QUICK, counted
from airflow_joblib.wire.records import ItemError, Report, Rules
from airflow_joblib.wire.status_board import INDEX, RESOURCES, Held, Slot
from airflow_joblib.worker import time_limit
from airflow_joblib.worker.item_loop import LOOK, run_items
from airflow_joblib.worker.steps import item_of_context
from airflow_joblib.worker.verdicts import skips, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.records import Verdict
    from airflow_joblib.worker.rate_limit import RateLimit

__all__ = [
    "Worker",
    "close_after_failure",
    "current_item",
    "first_time",
    "from_user",
    "mark_thread",
    "put_around",
    "put_around_items",
]

log = logging.getLogger("airflow_joblib")

_ASYNCHRONOUS = (
    "It is an asynchronous context manager, which a plain function can't enter. Use contextlib's contextmanager, or "
    "open the resource in the function, as with asyncio.run(...)."
)

_local = threading.local()


def current_item() -> int | None:
    """Return the position in the input of the item that runs here, None if none does."""
    running = getattr(_local, "running", None)
    if running is None:
        return item_of_context()
    report, indices = running
    done = len(report.values)
    return indices[done] if done < len(indices) else None


def inside_thread() -> bool:
    """Return whether this thread is a worker."""
    return getattr(_local, "inside", False) or item_of_context() is not None


def mark_thread(*, inside: bool) -> None:
    """Mark this thread as a worker, or as one no longer."""
    _local.inside = inside


def first_time(what: str) -> bool:
    """Return whether this is the first call about *what* in this worker."""
    seen: set[str] = _local.__dict__.setdefault("first_times", set())
    known = what in seen
    seen.add(what)
    return not known


#: What is put around the function of one item in this process: nothing, but in unit tests.
_around_items: list[Callable[[Callable[[Any], Any]], Callable[[Any], Any]]] = []


def put_around_items(wrap: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
    """Have every worker that begins in this process from now on run what *wrap* makes of the function of one item."""
    _around_items.append(wrap)


def put_around(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function of one item with what was put around it."""
    return functools.reduce(lambda inner, wrap: wrap(inner), _around_items, function)


class Worker:
    """One worker: the call, the resources it holds, and what runs a chunk.

    Args:
        call: The function with everything but the item.
        rules: How to go about a chunk.
        catch: What counts as an item's failure; anything else leaves :meth:`run`.
        slot: Where it notes which item it runs.
        halt: Called when no further item of the run may start, here or in another worker.
        rate: When items may start; None for at any time.
    """

    def __init__(  # noqa: PLR0913 - what a worker needs
        self,
        call: Call,
        rules: Rules = Rules(),  # noqa: B008 - immutable
        *,
        catch: type[BaseException] = Exception,
        slot: Slot | None = None,
        halt: Callable[[], object] = bool,
        rate: RateLimit | None = None,
    ) -> None:
        self._call = call
        self._rules = rules
        self._catch = catch
        self._row = (slot or Slot()).row
        self._timed = rules.timeout is not None
        self._halt = halt
        self._rate = rate
        self._function: Callable[[Any], Any] | None = None
        self._refused: ItemError | None = None
        self._stack = ExitStack()
        self._nested = False

    def run(self, items: Sequence[Any], indices: Sequence[int], halted: Callable[[], bool] = bool) -> Report:
        """Run a chunk, or as much of it as the rules say and until *halted* does.

        Args:
            items: The items.
            indices: Their positions in the input.
            halted: Looked at before an item, but not more than once a millisecond.
        """
        around = getattr(_local, "running", None)  # where an item of another fan-out runs this one
        self._nested = around is not None
        report = Report(indices[0], os.getpid(), began=clock.now(), thread=threading.get_ident())
        _local.running = report, indices
        times = ThreadTimes()
        try:
            if self._enter(report):
                self._run_items(items, indices, report, halted)
        finally:
            self._row[INDEX] = 0
            _local.running = around
        report.seconds, report.cpu, report.waited = times.since(report.rate_waited)
        report.durations, report.slow = counted(report.slow, len(report.values))
        return report

    def _run_items(
        self, items: Sequence[Any], indices: Sequence[int], report: Report, halted: Callable[[], bool]
    ) -> None:
        assert self._function is not None  # noqa: S101 - the resources were entered
        until = clock.now() + self._rules.seconds

        def ended() -> bool:
            return (bool(report.values) and clock.now() > until) or halted()

        failed = functools.partial(self._failed, report)
        row, timed, catch, look, every = self._row, self._timed, self._catch, ended, LOOK
        if self._rate is not None:
            look, every = functools.partial(self._wait_for_rate, self._rate, report, ended), 0.0
        try:
            run_items(
                self._function,
                items,
                indices,
                report,
                row,
                timed=timed,
                catch=catch,
                failed=failed,
                ended=look,
                every=every,
            )
        except catch as error:  # a signal between two items
            done = len(report.values)
            if done < len(items):
                self._failed(report, error, indices[done])

    def _wait_for_rate(self, rate: RateLimit, report: Report, ended: Callable[[], bool]) -> bool:
        """Wait until the next item may start, as no item's time; returns whether none may any more."""
        self._row[INDEX] = 0
        before = rate.waited
        try:
            return not rate.wait(ended)
        finally:
            report.rate_waited += rate.waited - before
            if not report.values:
                report.rate_waited_first = report.rate_waited

    def _failed(self, report: Report, error: BaseException, index: int, seconds: float = 0.0) -> bool:
        """Take note of an item that raised, and return whether the next one may start."""
        if isinstance(error, ItemTimeoutError) and error.index < 0:
            if self._rules.timeout is None and self._nested:
                raise error  # the limit of an item of another fan-out, which called this one
            error.index = index
        failure = self.failure(index, from_user(error))
        failure.seconds = seconds
        report.values.append(None)
        if skips(error):
            report.skipped.append(index)
            report.skip = report.skip or failure
            return True
        report.failures.append(failure)
        ends = self._rules.strict or failure.verdict == "end"
        if ends:
            self._halt()
            if seconds > QUICK:  # which the loop, as it ends, takes no note of
                report.slow.append((seconds, index))
        return not ends

    def _verdict(self, error: BaseException) -> Verdict:
        """Return what an item's exception means for the run."""
        return verdict(error, self._call.retry_on)

    def failure(self, index: int, error: BaseException, *, loading: bool = False) -> ItemError:
        """Return what an item's exception means for the run. Reached here: not every exception arrives in the task.

        Args:
            index: Position of the item in the input.
            error: The exception.
            loading: Whether the item could not be loaded, and so has not run.
        """
        after = error.after if isinstance(error, RetryItem) else None
        return ItemError(index, error, loading=loading, verdict=self._verdict(error), after=after)

    def _enter(self, report: Report) -> bool:
        """Enter the resources, once, and return whether they are there."""
        if self._function is None and self._refused is None:
            entered: dict[str, Any] = {}
            for name, factory in self._call.factories.items():
                try:
                    made = factory(**self._call.factory_arguments(factory))
                    if isinstance(made, AbstractContextManager):
                        made = self._stack.enter_context(made)
                        self._row[RESOURCES] = Held.HELD
                    elif isinstance(made, AbstractAsyncContextManager):
                        raise TypeError(_ASYNCHRONOUS)
                except self._catch as error:  # handed on as it is
                    self._refused = ItemError(-1, from_user(error), resource=name, verdict="end")
                    break
                entered[name] = made
            else:
                function = put_around(self._call.of_item(entered))
                self._function = time_limit.limited(function, self._rules.timeout)
        if self._refused is not None:
            report.failures.append(self._refused)
        return self._refused is None

    def close(self) -> None:
        """Leave the resources, in the thread that entered them, and without an exception after a failed item too.

        An item's failure is no failure of the resource: it ends within the resource's scope, where others go on.
        """
        self._function = None
        self._row[RESOURCES] = Held.LEAVING
        try:
            self._leave_resources()
        except BaseException:
            self._row[RESOURCES] = Held.FAILED
            raise

    def _leave_resources(self) -> None:
        self._stack.close()


def close_after_failure(worker: Worker) -> None:
    """Leave a worker's resources when the run has failed already: what that raises must not hide why."""
    try:
        worker.close()
    except Exception:
        log.exception("Leaving the per_worker resources failed as well.")


def from_user(error: BaseException) -> BaseException:
    """Drop our own frames from the top of an exception's traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return error.with_traceback(trace)


_OURS = str(Path(__file__).parents[1]) + os.sep
