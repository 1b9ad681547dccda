"""What must not travel, and the errors of pickling that name it."""

from __future__ import annotations

import functools
import pickle

from airflow_joblib.pickling.known_types import REFUSED

__all__ = ["RefusedError", "UnimportableError", "dotted_name", "is_refused"]


class RefusedError(pickle.PicklingError):
    """An object that would pickle but must not travel. *kind* is the object's type."""

    def __init__(self, kind: type) -> None:
        super().__init__(dotted_name(kind))
        self.kind = kind


class UnimportableError(pickle.PicklingError):
    """A reference to a module that a worker can't import."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


def dotted_name(kind: type) -> str:
    """Return the dotted name of a type, without the module for a builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@functools.lru_cache(maxsize=4096)
def is_refused(kind: type) -> bool:
    """Return whether objects of *kind* must not travel although cloudpickle would send them."""
    return any(dotted_name(base) in REFUSED for base in kind.__mro__)
