"""Calls from code that an event loop runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["AwaitableList", "loop_runs"]

T = TypeVar("T")


class AwaitableList(list[T]):
    """A list that may be awaited, which gives it as a plain one.

    Airflow awaits what a ``@task`` returns whose function, looked at through all that wraps it, is asynchronous.
    """

    def __await__(self) -> Generator[None, None, list[T]]:
        return list(self)
        yield


def loop_runs() -> bool:
    """Return whether an event loop runs in this thread; nobody has asyncio imported for that."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
