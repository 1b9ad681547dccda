"""The caller's warning filters in a worker process that is a fresh interpreter, which has its own otherwise.

A filter names the class of a warning. Where a worker has not imported that class's module yet, the filter takes its
place when it has: until then nothing there can give such a warning.
"""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_joblib.system.import_hooks import when_imported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["WarningFilter", "apply", "ignored", "snapshot"]


class WarningFilter(NamedTuple):
    """One of ``warnings.filters``, with its class by name: as it can be sent to a process that lacks that class."""

    action: str
    message: re.Pattern[str] | str | None
    category: tuple[str, str]
    module: re.Pattern[str] | str | None
    line: int


def snapshot() -> tuple[WarningFilter, ...]:
    """Return the filters that hold here."""
    return tuple(
        WarningFilter(str(action), message, (category.__module__, category.__qualname__), module, line)
        for action, message, category, module, line in warnings.filters
        if isinstance(category, type)
        and all(part is None or isinstance(part, str | re.Pattern) for part in (message, module))
    )


def apply(filters: Sequence[WarningFilter]) -> None:
    """Let *filters* hold here, and no others."""
    warnings.resetwarnings()
    places: list[Any] = [None] * len(filters)
    for place, each in enumerate(filters):
        when_imported(each.category[0], partial(_put, places, place, each))


def _put(places: list[Any], place: int, wanted: WarningFilter) -> None:
    """Put a filter in its place among those that are there."""
    found: Any = sys.modules.get(wanted.category[0])
    for name in wanted.category[1].split("."):
        found = getattr(found, name, None)
    if not (isinstance(found, type) and issubclass(found, Warning)):
        return
    made = places[place] = (wanted.action, wanted.message, found, wanted.module, wanted.line)
    later = [each for each in places[place + 1 :] if each is not None]
    ours: Any = warnings.filters
    at = next((at for at, each in enumerate(ours) if any(each is one for one in later)), len(ours))
    ours.insert(at, made)


@contextmanager
def ignored(modules: str) -> Iterator[None]:
    """Ignore what modules warn of whose names match a pattern, in all threads.

    Not by ``warnings.catch_warnings``, which puts back all filters of the process: where two threads come and go by
    turns, those of the one would stay when both are gone.
    """
    ours: Any = "ignore", None, Warning, re.compile(modules), 0
    filters: Any = warnings.filters
    filters.insert(0, ours)
    try:
        yield
    finally:
        with suppress(ValueError):
            filters.remove(ours)
