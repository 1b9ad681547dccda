"""Decide which modules travel by value, and tell cloudpickle so.

Airflow loads a DAG file as ``unusual_prefix_<sha1>_<stem>``, a name that only the process which loaded it knows. So a
function's own module travels by value wherever it is the user's own code: then the function behaves under the
executor, in a test that imports the DAG file by name and in a notebook in the same way. Installed packages go by
reference, as do the user's other modules, which a worker imports from the same ``sys.path``.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec

__all__ = ["importable", "instance_dict", "modules_by_value", "sent_by_value"]

#: What Airflow puts before the name of a module that it made from a DAG file.
DAG_FILE_PREFIX = "unusual_prefix_"

_CALLABLES = frozenset({FunctionType, BuiltinFunctionType, MethodType})

_registered: Counter[str] = Counter()
_lock = threading.Lock()
_found: set[str] = set()


def modules_by_value(functions: Iterable[Callable[..., object]]) -> list[ModuleType]:
    """Return the modules that must travel by value for these functions: their own, and every loaded DAG file."""
    names = {name for function in functions for name in _own_modules(function)}
    names.update(name for name in tuple(sys.modules) if name.startswith(DAG_FILE_PREFIX))
    modules = (sys.modules.get(name) for name in sorted(names))
    return [module for module in modules if module is not None and not _installed(module)]


def _own_modules(function: object) -> Iterator[str]:
    """Yield the names of the modules that define *function*, looking through partials, methods and wrappers."""
    seen: set[int] = set()  # a wrapper may well wrap itself
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        kind = type(function)
        own = instance_dict(function)
        by_name = kind in _CALLABLES or issubclass(kind, type)
        yield getattr(function, "__module__", None) or "" if by_name else own.get("__module__") or kind.__module__
        if kind is functools.partial:
            function = function.func  # type: ignore[attr-defined]
        elif kind is MethodType:
            yield type(function.__self__).__module__  # type: ignore[attr-defined]
            function = function.__func__  # type: ignore[attr-defined]
        else:
            function = own.get("__wrapped__")


def instance_dict(obj: object) -> dict[str, Any]:
    """Return an object's ``__dict__``, read by the interpreter's own descriptor: no code of the user runs."""
    for base in type(obj).__mro__:
        descriptor = vars(base).get("__dict__")
        if type(descriptor) is GetSetDescriptorType:
            return descriptor.__get__(obj)  # type: ignore[no-any-return]
    return {}


@functools.cache
def _installed_roots() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def _installed(module: ModuleType) -> bool:
    """Tell whether *module* is part of Python or of an installed distribution."""
    if module.__name__.startswith(DAG_FILE_PREFIX) or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    path = Path(file).resolve()
    return any(path.is_relative_to(root) for root in _installed_roots())


@contextmanager
def sent_by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Have cloudpickle send everything that *modules* define by value, for as long as the block runs.

    Counted, so that overlapping runs in threads don't end each other's registration; a module that the user has
    registered himself stays registered.
    """
    named = [module for module in modules if module.__name__ != "__main__"]
    with _lock:
        taken = [module for module in named if _take(module)]
    try:
        yield
    finally:
        with _lock:
            for module in taken:
                _release(module)


def _take(module: ModuleType) -> bool:
    name = module.__name__
    if not _registered[name] and name in cloudpickle.list_registry_pickle_by_value():
        return False
    if not _registered[name]:
        cloudpickle.register_pickle_by_value(module)
    _registered[name] += 1
    return True


def _release(module: ModuleType) -> None:
    _registered[module.__name__] -= 1
    if not _registered[module.__name__]:
        del _registered[module.__name__]
        cloudpickle.unregister_pickle_by_value(module)


def importable(name: str) -> bool:
    """Tell whether a fresh process with this ``sys.path`` can find the module *name*.

    ``importlib.util.find_spec`` answers from ``sys.modules``, which says nothing about another process, so every part
    of the name is asked of the finders themselves.
    """
    if name not in _found and _findable(name):
        _found.add(name)  # a module that isn't found may be by and by: the path grows, files are written
    return name in _found


def _findable(name: str) -> bool:
    path = None
    for depth, part in enumerate(parts := name.split("."), 1):
        spec = _find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return _grown_by_parent(".".join(parts[: depth - 1]), part)
        path = spec.submodule_search_locations
    return True


def _grown_by_parent(parent: str, part: str) -> bool:
    """Tell whether *parent*, itself importable, makes the submodule *part* when imported, as ``os.path``."""
    return bool(parent) and hasattr(sys.modules.get(parent), part)


def _find_spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path, None) if find else None
        if spec is not None:
            return spec
    return None
