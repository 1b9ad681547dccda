"""The steps of a coroutine: what it runs between two waits, each of them under the item's own name.

An event loop runs many items by turns. Whose turn it is stands on the status board for the length of a step, so that
the task knows which item has ended its worker, or holds it up.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from airflow_joblib.system.clock import now_ns
from airflow_joblib.wire.status_board import INDEX, SINCE
from airflow_joblib.worker import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ["Steps", "item_of_context"]

log = logging.getLogger("airflow_joblib")

#: Nanoseconds after which a step is held to block the loop.
_BLOCKS = 1_000_000_000
_BLOCKED = (
    "%s: item %d held up the event loop of its worker for %.1f s, and with it every other item there. Await an "
    "asynchronous call instead, or run the blocking one by asyncio.to_thread(...); it is logged of this item alone."
)

#: Position in the input of the item whose code runs, also in threads that it has started with its context.
_item: ContextVar[int | None] = ContextVar("airflow_joblib_item", default=None)


def item_of_context() -> int | None:
    """Return the position in the input of the item of an asynchronous function that runs here, None if none does."""
    return _item.get()


class Stepping:
    """What the steps of all items of one event loop share.

    Args:
        function: The asynchronous function of one item.
        name: The function's name.
        row: Where the item that runs is shown (:mod:`airflow_joblib.wire.status_board`).
        timeout: Seconds that a try of an item may take; None for any.
    """

    def __init__(self, function: Callable[[Any], Any], name: str, row: memoryview, timeout: float | None) -> None:
        self.function = function
        self.name = name
        self.row = row
        self.timeout = timeout
        self._warned = False

    def warn(self, index: int, seconds: float) -> None:
        """Warn, once, of an item that has blocked the loop."""
        if not self._warned:
            self._warned = True
            log.warning(_BLOCKED, self.name, index, seconds, extra={"item": index})


class Steps(Coroutine[Any, Any, Any]):
    """One item's coroutine, which runs in a context of its own and is shown while it runs.

    Args:
        item: The item.
        index: Its position in the input.
        context: A context that no other item has.
        shared: What all items of the loop share.
    """

    __slots__ = ("_coroutine", "_index", "_item", "_run", "_send", "_shared")

    def __init__(self, item: object, index: int, context: Context, shared: Stepping) -> None:
        context.run(_item.set, index)
        self._item = item
        self._index = index
        self._run = context.run
        self._shared = shared
        self._coroutine: Any = None
        self._send: Callable[[Any], Any] | None = None

    def _begin(self) -> Callable[[Any], Any]:
        """Call the function, and return what runs a step of what that gives."""
        shared = self._shared
        self._coroutine = coroutine = self._run(shared.function, self._item)
        # A step that blocks is ended as a plain item is; the time that an item waits is the loop's to end.
        self._send = send = time_limit.limited(coroutine.send, shared.timeout)
        return send

    def send(self, value: Any = None) -> Any:
        """Run up to the next wait."""
        shared, index = self._shared, self._index
        row = shared.row
        row[SINCE] = since = now_ns()
        row[INDEX] = index + 1
        try:
            return self._run(self._send or self._begin(), value)
        finally:
            row[INDEX] = 0
            if (passed := now_ns() - since) > _BLOCKS:
                shared.warn(index, passed / 1e9)

    __next__ = send

    def throw(self, *error: Any) -> Any:
        """Run on with an exception, up to the next wait."""
        row = self._shared.row
        row[SINCE] = now_ns()
        row[INDEX] = self._index + 1
        try:
            return self._run(self._coroutine.throw, *error)
        finally:
            row[INDEX] = 0

    def close(self) -> None:
        """Close the coroutine."""
        if self._coroutine is not None:
            self._run(self._coroutine.close)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self
