"""joblib put off: an empty package at first, filled when something asks for more than loky's modules in it.

To load joblib takes a process longer than everything else at its start. Not the standard library's ``LazyLoader``,
which fills a package as soon as a module of it is imported. What fills the package is the import of a module,
:mod:`.whole_joblib`, so that Python's own locks see to threads that ask at once.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["fill", "put_off"]

_WHOLE = "airflow_joblib.lean.whole_joblib"

_empty: list[ModuleType] = []


def put_off(*packages: str) -> None:
    """Put empty packages in the place of these, the outer one first, unless they are loaded.

    They are filled when something is looked up in them, or when another module of joblib than loky's is imported.
    """
    for name in packages:
        spec = importlib.util.find_spec(name) if name not in sys.modules else None
        if spec is not None:
            module: Any = importlib.util.module_from_spec(spec)
            module.__getattr__ = _Missing(module)
            sys.modules[name] = module
            _empty.append(module)
    if _empty:
        sys.meta_path.insert(0, _Parts())


def fill() -> None:
    """Fill the packages: run what Python would have run at their import."""
    while _empty:
        module: Any = _empty[-1]
        module.__spec__.loader.exec_module(module)
        if type(vars(module).get("__getattr__")) is _Missing:
            del module.__getattr__
        _empty.pop()


def _load_whole() -> None:
    import airflow_joblib.lean.whole_joblib  # noqa: F401 - which calls fill


class _Missing:
    """The ``__getattr__`` of an empty package."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __call__(self, name: str) -> Any:
        """Fill the package, and look the name up again; while it is being filled only that."""
        _load_whole()
        if name in vars(self._module):
            return vars(self._module)[name]
        own = vars(self._module).get("__getattr__")
        if own is not None and own is not self:
            return own(name)
        msg = f"module {self._module.__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


class _Parts:
    """Has joblib filled before one of its own modules is loaded, which may look for others in it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of joblib's that has been loaded by now, and leave all others to the other finders."""
        del path, target
        package, _, rest = fullname.partition(".")
        if package != "joblib" or rest.partition(".")[0] in {"", "externals"} or _WHOLE in sys.modules:
            return None
        _load_whole()
        module = sys.modules.get(fullname)
        if module is None:
            return None
        loader: Any = _Loaded(module)
        module.__spec__ = ModuleSpec(fullname, loader)  # by which Python would load it again
        return module.__spec__


class _Loaded:
    """Loads what is loaded."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
