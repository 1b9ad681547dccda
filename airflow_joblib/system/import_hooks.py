"""Act on a module when it is imported, and not import it for that."""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["when_imported"]


def when_imported(name: str, act: Callable[[], object]) -> Callable[[], None]:
    """Call *act* now if the module is imported already, else right after its import.

    Returns:
        What takes that back, as long as the module has not been imported.
    """
    module = sys.modules.get(name)
    if module is not None and not _being_imported(module):
        act()
        return lambda: None
    watcher = _Watcher(name, act)
    with _lock:
        sys.meta_path.insert(0, watcher)
    return watcher.forget


def _being_imported(module: ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))


#: Held while a watcher comes or goes.
_lock = threading.Lock()


class _Watcher:
    """Waits for one module to be imported. Not derived from the abstract finder, whose import takes a worker longer."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._name = name
        self._act: Callable[[], object] | None = act
        self._here = threading.local()

    def forget(self) -> None:
        """Wait no longer."""
        self._act = None
        with _lock:
            # Another list: an import in another thread that goes through this one would leave out the next finder.
            finders = sys.meta_path.copy()
            with suppress(ValueError):  # it has come
                finders.remove(self)
                sys.meta_path = finders

    def _come(self) -> None:
        act = self._act
        self.forget()
        if act is not None:
            act()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that one module as the other finders do, and no other."""
        del path, target
        if fullname != self._name or self._act is None or getattr(self._here, "looking", False):
            return None
        self._here.looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._here.looking = False
        if spec is not None and spec.loader is not None:  # which may be a mere look: it has come when it is executed
            _after_execution(spec.loader, self._come)
        return spec


def _after_execution(loader: Any, act: Callable[[], object]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        act()

    loader.exec_module = exec_module
