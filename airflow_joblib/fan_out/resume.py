"""The checkpoint of a run, from which another try of its task takes the items that are finished; or none."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from airflow_joblib.wire.call import function_name
from airflow_joblib.wire.spread import without_cursor
from airflow_joblib.worker.process import inside_worker
from airflow_joblib.worker.worker import first_time

if TYPE_CHECKING:
    from airflow_joblib.checkpoint import Checkpoint, Finished
    from airflow_joblib.fan_out.host import Host
    from airflow_joblib.options.options import Options
    from airflow_joblib.wire.call import Call
    from airflow_joblib.wire.chunk import ItemChunk
    from airflow_joblib.wire.records import Report

__all__ = ["RunCheckpoint", "without_inner_checkpoint"]

log = logging.getLogger("airflow_joblib")

_USED = (
    "%s: this run took finished items from the checkpoint in %s, and so will the next try. If they are wrong now, "
    "remove that folder: every item runs then."
)
_STAY = "%s: finished items are kept in the checkpoint in %s: another try of the task runs the others alone."
_KEPT = "%s: finished items stay in the checkpoint in %s. To run the %s, clear the task or call the function again."
_NO_INNER_CHECKPOINT = (
    "%s: keeps no checkpoint, since an item of another fan-out called it. Give that one a checkpoint, which keeps "
    "whole items."
)


def without_inner_checkpoint(options: Options, name: str) -> Options:
    """Return the options, without a checkpoint where an item of another run called the function of this *name*."""
    if options.checkpoint is False or not inside_worker():
        return options
    if first_time(f"checkpoint of {name}"):
        log.warning(_NO_INNER_CHECKPOINT, name)
    return replace(options, checkpoint=False)


class RunCheckpoint:
    """The checkpoint of a run, where there is to be one. A context manager, which writes what is pending at the end."""

    def __init__(self, call: Call, options: Options, host: Host, days: int) -> None:
        self._call = call
        self._where = options.checkpoint
        self._host = host
        self._days = days
        self._checkpoint: Checkpoint | None = None
        self._digests: dict[int, list[bytes]] = {}
        self._unfit = host.result_check(call)
        self._used = self._added = self._over = self._alone = False

    def __enter__(self) -> Self:
        if self._where is not False:
            from airflow_joblib.checkpoint import Checkpoint, call_key, outside_airflow  # late: few runs have one

            where = None if self._where is True else os.fspath(self._where)
            name, bound = _identity(self._call.function)
            key = call_key(name, {**self._call.arguments(), **bound})
            folder = self._host.checkpoint_folder(where)
            self._alone = folder is None
            folder = folder or outside_airflow(where, name)
            folder.check()
            self._checkpoint = Checkpoint(folder, key)
            self._checkpoint.load()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._checkpoint is None:
            return
        hasty = getattr(kind, "hasty", False)
        ended = kind is not None and not issubclass(kind, Exception)  # from outside: nothing may take long now
        if not self._over:
            self._checkpoint.flush(hasty=hasty)
            if kind is not None and (self._used or self._added):
                level, text = (logging.WARNING, _USED) if self._used else (logging.INFO, _STAY)
                log.log(level, text, function_name(self._call.function), self._checkpoint.folder)
        if not ended:
            from airflow_joblib.checkpoint import remove_expired

            remove_expired(self._checkpoint.folder, self._days)

    @property
    def any(self) -> bool:
        """Whether items are kept, of this try or of an earlier one."""
        return self._checkpoint is not None

    def take(self, index: int, item: object) -> Finished | None:
        """Return what an earlier try has kept of an item of this content, None for nothing."""
        assert self._checkpoint is not None  # noqa: S101 - `any` ensures it
        if self._call.over:
            item = without_cursor(item, self._call.over)
        digests = self._checkpoint.digests([item])
        if digests is None:
            return None
        found = self._checkpoint.take(item, digests[0])
        if found is not None and not found.skipped and self._unfit is not None and self._unfit(index, found.value):
            found = None  # kept by a run whose results were to be no XCom
        self._used = self._used or found is not None
        if found is None:  # kept until it has run, since an item that runs in this process may be changed by that
            self._digests[index] = digests
        return found

    def add(self, chunk: ItemChunk, report: Report, failed: set[int]) -> None:
        """Keep what a report has of finished items."""
        if self._checkpoint is None:
            return
        rows = zip(chunk.indices, chunk.items, report.values, strict=False)
        done = [(index, item, value) for index, item, value in rows if index not in failed and index in self._digests]
        if done:
            indices, items, values = zip(*done, strict=True)
            all_skipped = set(report.skipped)
            skipped = {place for place, index in enumerate(indices) if index in all_skipped}
            digests = [digest for index in indices for digest in self._digests.pop(index)]
            if report.skip is not None:  # kept, so that a task all of whose items were skipped is, in a later try too
                values = tuple(report.skip.error if place in skipped else value for place, value in enumerate(values))
            self._checkpoint.add(items, values, skipped, digests)
            self._added = True

    def beat(self, *, in_this_thread: bool = False) -> None:
        """Write what has been pending for a while; at once where items run in this thread until the next beat."""
        if self._checkpoint is None:
            return
        if in_this_thread:
            self._checkpoint.flush()
        else:
            self._checkpoint.beat()

    def end(self, failed: int) -> None:
        """Forget everything, once the run's task has ended well too: nothing may be lost while it ends.

        Args:
            failed: Items that failed for good. For them everything is kept.
        """
        if self._checkpoint is None:
            return
        self._checkpoint.flush()
        if failed:
            items = "item that failed" if failed == 1 else f"{failed:,} items that failed"
            log.info(_KEPT, function_name(self._call.function), self._checkpoint.folder, items)
            self._host.call_off()  # a task that is cleared runs all its calls again
            return
        self._over = True
        others = self._host.is_whole_task(self._call)
        self._host.when_succeeded(functools.partial(self._checkpoint.clear, others=others, spare=self._alone))


def _identity(function: Any) -> tuple[str, dict[str, Any]]:
    """Return a function's dotted name, and what makes it another one under the same name.

    That is what a partial, a method or a callable object is bound to, and what a closure holds, as far as it has a
    content to go by.
    """
    bound: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        bound[f"partial {len(bound)}"] = function.args, function.keywords
        function = function.func
    owner = getattr(function, "__self__", None) if inspect.isroutine(function) else function
    if owner is not None and not inspect.ismodule(owner):
        bound["self"] = owner
    bound.update(_closure(function))
    name = getattr(function, "__qualname__", None) or function_name(function)
    return f"{function.__module__}.{name}", bound


def _closure(function: Any) -> dict[str, Any]:
    from airflow_joblib.checkpoint import digest

    found = {}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        with suppress(Exception):  # an empty cell, or a lock, say
            digest(cell.cell_contents)
            found[f"closure {name}"] = cell.cell_contents
    return found
