"""What holds in the thread of a call, for the worker threads of its run: context variables, and what is like them."""

from __future__ import annotations

import contextvars
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CallerContext"]


class CallerContext:
    """The context of the thread that makes this. Each worker thread has a copy of its own."""

    def __init__(self) -> None:
        self._context = contextvars.copy_context()
        self._errors = _numpy_errors()
        self._local = threading.local()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call *function* in this thread's copy, in which what it sets stays for the next call."""
        if not hasattr(self._local, "context"):
            self._local.context = self._context.copy()
            self._local.context.run(self._begin)
        return self._local.context.run(function, *args)

    def _begin(self) -> None:
        if (decimal := sys.modules.get("decimal")) is not None:
            decimal.setcontext(decimal.getcontext().copy())  # an object, which threads would share and set for all
        if self._errors is not None:
            sys.modules["numpy"].seterr(**self._errors)


def _numpy_errors() -> dict[str, Any] | None:
    """Return how NumPy deals with floating-point errors here; up to version 1 each thread has its own way."""
    numpy: Any = sys.modules.get("numpy")
    return dict(numpy.geterr()) if hasattr(numpy, "geterr") else None
