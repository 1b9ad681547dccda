"""Plain data, which can go wherever it is sent: to see that takes a tenth of the time that pickling it does."""

from __future__ import annotations

import pickle
from typing import Any, NoReturn

__all__ = ["is_plain"]

#: Bytes beyond which nobody goes on: without a memo, what is referred to again and again counts each time.
_MOST_BYTES = 1 << 30


class _Plain(pickle.Pickler):
    """Takes what is of Python's own simple types and containers, exactly, and nothing else."""

    def reducer_override(self, obj: object) -> NoReturn:
        """Stop at anything else."""
        raise TypeError(type(obj))


class _Nowhere:
    """A file that takes some bytes and keeps none."""

    def __init__(self) -> None:
        self._size = 0

    def write(self, data: Any) -> None:
        """Count *data*."""
        self._size += len(data)
        if self._size > _MOST_BYTES:
            raise OverflowError


def is_plain(obj: object) -> bool:
    """Return whether *obj* is made of nothing but Python's own simple types and containers.

    False as well for what holds itself, what is nested deeply, or is very large: then it has to be pickled to know.
    """
    pickler = _Plain(_Nowhere(), pickle.HIGHEST_PROTOCOL)
    pickler.fast = True  # no memo, which is what takes the time
    try:
        pickler.dump(obj)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return False
    return True
