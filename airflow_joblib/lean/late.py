"""joblib put off: an empty package at first, filled when something asks for more than a part of loky in it.

To load joblib takes a process longer than everything else at its start. Not the standard library's ``LazyLoader``,
which fills a package as soon as a module of it is imported.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["put_off_joblib"]

_PACKAGES = ("joblib", "joblib.externals.loky")

_lock = threading.RLock()
_empty: set[str] = set()


def put_off_joblib() -> None:
    """Have joblib and loky loaded when something is first looked up in them, but their modules at once."""
    for name in _PACKAGES:
        if name not in sys.modules:
            _put_off(name)


def _put_off(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module: Any = importlib.util.module_from_spec(spec)
    module.__getattr__ = _Filler(module)
    _empty.add(name)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


class _Filler:
    """A package's ``__getattr__`` for as long as it is empty."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __call__(self, name: str) -> Any:
        """Fill the package, and look the name up again. Other threads wait for that."""
        package = self._module.__name__
        with _lock:
            if package in _empty:
                self._fill(package)
        if vars(self._module).get("__getattr__") is not self:
            return getattr(self._module, name)
        msg = f"module {package!r} has no attribute {name!r}"  # it is being filled
        raise AttributeError(msg)

    def _fill(self, package: str) -> None:
        _empty.discard(package)
        try:
            spec = self._module.__spec__
            assert spec is not None  # noqa: S101 - it was made from one
            assert spec.loader is not None  # noqa: S101
            spec.loader.exec_module(self._module)
        except BaseException:
            _empty.add(package)
            raise
        if vars(self._module).get("__getattr__") is self:
            del vars(self._module)["__getattr__"]
