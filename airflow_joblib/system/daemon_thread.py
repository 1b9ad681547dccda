"""A thread that runs what it is given, one after another, and that no process waits for when it ends."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OwnThread"]


class OwnThread:
    """Not :class:`~concurrent.futures.ThreadPoolExecutor`: an item that goes on would keep its process from ending.

    Args:
        name: Of the thread.
        begin: What it runs first.
        interrupt: What may be raised in it from outside; it goes on with what it is given next.
    """

    def __init__(self, name: str, begin: Callable[[], object], interrupt: type[BaseException]) -> None:
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._interrupt = interrupt
        self._ended = False
        self._lock = threading.Lock()  # which the thread itself, that may be interrupted, never takes
        self._thread = threading.Thread(target=self._work, args=(begin,), name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Have *work* run; gives what its result will be in. After the end that is an interruption."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended:
                future.set_exception(self._interrupt())
            else:
                self._todo.put((future, work))
        return future

    def end(self) -> None:
        """Have the thread end after what it has been given. Doesn't wait."""
        with self._lock:
            self._ended = True
            self._todo.put(None)

    def _work(self, begin: Callable[[], object]) -> None:
        begin()
        goes_on = True
        while goes_on:
            with suppress(self._interrupt):  # it came after what was to be interrupted
                goes_on = self._work_once()

    def _work_once(self) -> bool:
        given = self._todo.get()
        if given is None:
            return False
        future, work = given
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            future.set_exception(error)
        else:
            future.set_result(result)
        return True
