"""What became of every item of a run: results, failures, skips, and what is to be tried again."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_joblib.exceptions import ItemTimeoutError, TooManyFailuresError, WorkerLostError
from airflow_joblib.fan_out.failures import Failures
from airflow_joblib.fan_out.retries import Retries
from airflow_joblib.fan_out.retry_log import RetryLog
from airflow_joblib.options.backends import backend_named
from airflow_joblib.pools.watchdog import ending
from airflow_joblib.system import clock
from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.records import ItemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.fan_out.resume import RunCheckpoint
    from airflow_joblib.options.options import Options
    from airflow_joblib.pools.watchdog import Dead, LostWorkersError
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report, Verdict

__all__ = ["RunState"]

log = logging.getLogger("airflow_joblib")

#: Workers that one item may end before it has failed.
_KILLS = 2


class RunState:
    """The items of one run and what became of them.

    Attributes:
        results: The results so far, in input order, None where there is none.
        total: Number of items; None as long as a lazy input has more to give.
        done: Items that have a result, those that were skipped included.
        earlier: Those of them that an earlier try has done.
        skipped: Items that were skipped.
        retried: Tries after the first, of all items together, that failures have led to.
        failures: Items that failed for good.
        rate_limit: Items that may start in a second; None for any number.
        retries: Items that wait for another try.
        retry_log: Logs that.
        checkpoint: Where finished items come from and go to.
    """

    def __init__(self, call: Call, options: Options, host: Host, checkpoint: RunCheckpoint) -> None:
        self._call = call
        self._host = host
        self.checkpoint = checkpoint
        self._limit = options.item_timeout or 0.0
        self.rate_limit = options.rate_limit
        self._overdue: Verdict = "retry" if issubclass(ItemTimeoutError, options.item_retry_on) else "fail"
        self._fail_fast = options.fail_fast
        self._tolerant = bool(options.max_failures) or not options.fail_fast
        self._tries: dict[int, int] = {}
        self._kills: dict[int, int] = {}
        self._skip: ItemError | None = None
        self._skipped_item: object = None
        self._idle_losses = 0
        self._unfit = host.result_check(call)
        self._logged_earlier = False
        self.name = function_name(call.function)
        self.results: list[Any] = []
        self.total: int | None = None
        self.done = 0
        self.earlier = 0
        self.skipped = 0
        self.retried = 0
        self.failures = Failures(call, options.max_failures, host, options.label)
        self.retries = Retries(options.item_retries, options.item_retry_delay)
        self.retry_log = RetryLog(self.name, 1 + options.item_retries, self.failures)

    @property
    def undisturbed(self) -> bool:
        """Whether every item ran, once."""
        return not (self._tries or self._kills or self.failed)

    @property
    def wait(self) -> float:
        """Seconds until every item that failed has begun its next try; 0 where none waits for one."""
        last = self.retries.last_due
        return 0.0 if last is None else max(0.0, last - clock.now())

    @property
    def failed(self) -> int:
        """Items that failed for good."""
        return len(self.failures.records)

    def draw(self, items: Sequence[Any]) -> tuple[Sequence[int], Sequence[Any]]:
        """Take up the next items of the input; gives the positions, and the items, of those that are to run."""
        first = len(self.results)
        self.results.extend([None] * len(items))
        self.failures.items = len(self.results)
        indices = range(first, first + len(items))
        if not self.checkpoint.any:
            return indices, items
        todo = [index for index, item in zip(indices, items, strict=True) if not self._take_restored(index, item)]
        if self.earlier and not self._logged_earlier and (todo or self.total is not None):
            self._logged_earlier = True
            total = f"{len(self.results):,}" if self.total is not None else f"the first {len(self.results):,}"
            log.info("%s: %s of %s items done by an earlier try", self.name, f"{self.earlier:,}", total)
        return todo, [items[index - first] for index in todo]

    def _take_restored(self, index: int, item: object) -> bool:
        restored = self.checkpoint.take(index, item)
        if restored is None:
            return False
        if restored.skipped:
            if self._skip is None:
                self._skip, self._skipped_item = ItemError(index, restored.value), item
        else:
            self.results[index] = restored.value
        self.done += 1
        self.earlier += 1
        self.skipped += restored.skipped
        return True

    def take(self, chunk: ItemChunk, report: Report) -> None:
        """Enter a report.

        Raises:
            TypeError: A result can't be in an XCom, and no failure is tolerated.
            TooManyFailuresError: More items failed than are tolerated.
            Exception: An item's failure that ends the run.
        """
        self._idle_losses = 0
        ran = len(report.values)
        if self._unfit is not None:
            self._refuse_unfit(chunk.indices, report, self._unfit)
        self._enter_results(chunk.indices[:ran], report)
        self.skipped += len(report.skipped)
        if self._skip is None and report.skip is not None:
            self._skip = report.skip
            self._skipped_item = chunk.items[chunk.indices.index(report.skip.index)]
        failed = {failure.index for failure in report.failures}
        self.done += ran - len(failed - {-1})
        self.checkpoint.add(chunk, report, failed)
        for failure in report.failures:
            self._fail(failure, chunk, report.worker)

    def _refuse_unfit(self, indices: Sequence[int], report: Report, unfit: Callable[[int, object], str | None]) -> None:
        """Make a failure of each item whose result can't be in the task's XCom: the task would fail at its end."""
        for place, value in enumerate(report.values):
            why = None if value is None else unfit(indices[place], value)
            if why is not None:
                report.values[place] = None
                refused = ItemError(indices[place], TypeError(why), returned=True, verdict="fail")
                report.failures.append(refused)

    def _enter_results(self, indices: Sequence[int], report: Report) -> None:
        if isinstance(indices, range) and indices:
            self.results[indices[0] : indices[-1] + 1] = report.values
        else:
            for index, value in zip(indices, report.values, strict=True):
                self.results[index] = value

    def _fail(self, failure: ItemError, chunk: ItemChunk, worker: int) -> None:
        """Let an item that failed wait for another try, or take note that it failed for good."""
        index = failure.index
        tries = self._tries[index] = self._tries.get(index, 0) + 1
        started = tries + self._kills.get(index, 0) - isinstance(failure.error, WorkerLostError)
        item = chunk.items[chunk.indices.index(index)] if index >= 0 else None
        if failure.verdict == "end":
            with suppress(Exception):  # which must not take this one's place
                self._publish()
            raise self.failures.raised(failure, item, started, worker)
        if failure.verdict == "retry":
            wait = self.retries.plan(index, item, tries, failure.after)
            if wait is not None:
                self.retried += 1
                self.retry_log.add(failure, item, tries, wait)
                return
        if not self._tolerant:
            raise self.failures.raised(failure, item, started, worker)
        self.failures.add(failure, item, started, worker)
        if not self._fail_fast:
            return
        try:
            self.failures.check(self.total)
        except TooManyFailuresError:
            with suppress(Exception):
                self._publish()
            raise

    def lose(self, lost: LostWorkersError) -> Iterable[ItemChunk]:
        """Take note of workers that were lost, and give the chunks that must run again.

        The item that a worker ran when it ended comes alone, so that it takes no other one with it again.

        Raises:
            WorkerLostError: An item ended two workers and no failure is tolerated, or no worker lives to run any.
        """
        self._log_lost(lost)
        blamed = {dead.item: dead for dead in lost.dead if dead.item is not None}
        if not blamed:
            self._idle_losses += 1
            if self._idle_losses >= _KILLS:
                raise self._unblamed(lost)
        for chunk in lost.unfinished:
            start = 0
            for offset, index in enumerate(chunk.indices):
                if index in blamed and offset >= start:
                    if start < offset:
                        yield chunk.part(start, offset)
                    start = len(chunk.indices) if blamed[index].whole else offset + 1
                    # To a cluster each piece is a dispatch, which is dear: there they get smaller time by time.
                    parts = 8 if backend_named(lost.backend).cluster else start - offset
                    yield from self._suspect(chunk.part(offset, start), blamed[index], parts)
            if start < len(chunk.indices):
                yield chunk.part(start) if start else chunk

    def _suspect(self, some: ItemChunk, dead: Dead, parts: int) -> Iterable[ItemChunk]:
        """Blame an item for the end of its worker; of several, one has to run alone to prove that it was that one."""
        count = len(some.indices)
        return some.pieces(-(-count // parts)) if count > 1 else self._blame(some, dead)

    def _blame(self, alone: ItemChunk, dead: Dead) -> Iterable[ItemChunk]:
        """Blame an item for the end of its worker; gives it as a chunk of its own if it may run again."""
        index, item = alone.first, self.failures.shown.item(alone.items[0])
        if dead.overdue:
            late = ItemTimeoutError(self._limit, index, item)
            self._fail(ItemError(index, late, verdict=self._overdue), alone, dead.pid)
            return
        kills = self._kills[index] = self._kills.get(index, 0) + 1
        if kills < _KILLS:
            yield alone
            return
        memory = "" if dead.memory is None else f" It used {dead.memory / 2**20:,.0f} MiB of memory when last seen."
        message = (
            f"Item {index} ({item}) ended its worker process for the second time: the process {ending(dead.exit_code)}."
            f"{memory}"
        )
        error = WorkerLostError(message, index, dead.exit_code)
        self._fail(ItemError(index, error, verdict="fail"), alone, dead.pid)

    def _log_lost(self, lost: LostWorkersError) -> None:
        number = sum(len(chunk.indices) for chunk in lost.unfinished)
        again = "1 unfinished item runs" if number == 1 else f"{number:,} unfinished items run"
        how = " and ".join(sorted({ending(dead.exit_code) for dead in lost.dead})) or "ended"
        ran = ", ".join(_what_ran(dead) for dead in lost.dead if dead.item is not None)
        log.warning(
            "%s: a worker process of the backend %r %s%s; %s again in fresh workers.",
            self.name,
            lost.backend,
            how,
            f" while it ran {ran}" if ran else "",
            again,
        )

    def _unblamed(self, lost: LostWorkersError) -> WorkerLostError:
        if backend_named(lost.backend).cluster:  # which don't report what a worker ran when it ended
            where = ", ".join(f"{chunk.indices[0]} to {chunk.indices[-1]}" for chunk in lost.unfinished)
            message = (
                f"Workers of the {lost.backend} cluster ended, and did so again when others took over. It may be one "
                f"of the items they had that ends them, for want of memory or by a crash: {where}. See their logs."
            )
            return WorkerLostError(message, -1, None)
        how = " and ".join(sorted({ending(dead.exit_code) for dead in lost.dead})) or "ended"
        message = (
            f"The worker processes of the backend {lost.backend!r} end before they run an item; the last one {how}. "
            "Look at what the function's module and its per_worker functions do when they are loaded."
        )
        return WorkerLostError(message, -1, lost.dead[0].exit_code if lost.dead else None)

    def finish(self) -> list[Any]:
        """Return the results when all items are done.

        Raises:
            TooManyFailuresError: More items failed than are tolerated.
            Exception: The AirflowSkipException of the first item that was skipped, where all were.
        """
        self._publish()
        self.failures.check(len(self.results), over=not self._fail_fast)
        if self._skip is not None and self.skipped == len(self.results):
            self.checkpoint.end(self.failed)
            raise self.failures.explained(self._skip, self._skipped_item, self._tries.get(self._skip.index, 0) + 1, 0)
        return self.results

    def _publish(self) -> None:
        if self._tolerant:
            self._host.publish_failures(sorted(self.failures.records, key=lambda record: record["index"]))


def _what_ran(dead: Dead) -> str:
    """Return which item a worker ran when it ended, as a text."""
    return f"a chunk that begins with item {dead.item}" if dead.whole else f"item {dead.item}"
