"""Decide which modules travel by value, and register them with cloudpickle.

Airflow loads a DAG file as ``unusual_prefix_<sha1>_<stem>``, a name that only the process which loaded it knows. So a
function's own module travels by value wherever it is the user's own code: then the function behaves under the
executor, in a test that imports the DAG file by name and in a notebook in the same way. Installed packages go by
reference. The user's other modules do so too where a worker imports them from the same ``sys.path``; for workers that
don't, see :mod:`.dependencies`.
"""

from __future__ import annotations

import functools
import importlib
import os
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

__all__ = [
    "findable_part",
    "importable",
    "instance_dict",
    "is_own",
    "left_behind",
    "modules_by_value",
    "sent_by_value",
    "source_of",
]

#: What Airflow puts before the name of a module that it made from a DAG file.
DAG_FILE_PREFIX = "unusual_prefix_"

_CALLABLES = frozenset({FunctionType, BuiltinFunctionType, MethodType})

_registered: Counter[str] = Counter()
_lock = threading.Lock()
_found: set[str] = set()
_searched: list[str] = []


#: This package, which workers have, and whose exceptions they know: also where it lies beside the user's modules.
_THIS = __name__.partition(".")[0]


def modules_by_value(functions: Iterable[Callable[..., object]]) -> list[ModuleType]:
    """Return the modules that must travel by value for these functions: their own, and every loaded DAG file."""
    names = {name for function in functions for name in _own_modules(function) if name.partition(".")[0] != _THIS}
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
    """Return whether *module* is part of Python or of an installed distribution."""
    if module.__name__.startswith(DAG_FILE_PREFIX) or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__ in sys.builtin_module_names
    return _is_installed_file(file)


#: What the folders of installed packages are called, be they Python's own, a user's or another environment's.
_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})


@functools.lru_cache(maxsize=4096)
def _is_installed_file(file: str) -> bool:
    path = Path(file).resolve()
    in_packages = not _PACKAGE_FOLDERS.isdisjoint(path.parts)
    return in_packages or any(path.is_relative_to(root) for root in _installed_roots())


def is_own(name: str) -> bool:
    """Return whether a module is the user's own code, and so in no worker that has only what is installed.

    Args:
        name: Its dotted name. Nothing is imported to find out.
    """
    top = name.partition(".")[0]
    if name.startswith(DAG_FILE_PREFIX) or name == "__main__":
        return True
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    for each in (top, name):  # a package whose parts lie apart has no file; a module made by hand has no place at all
        places = _places(each)
        if places and any(places):
            return not any(map(_is_installed_file, filter(None, places)))
    return name in sys.modules


def _places(name: str) -> list[str | None]:
    """Return where a module is: its file, or the folders of one that has none."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) if module is not None else None if "." in name else _find_spec(name, None)
    file = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    if file is not None:
        return [file]
    return list(getattr(module, "__path__", None) or (spec and spec.submodule_search_locations) or ())


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
    """Return whether a fresh process with this ``sys.path`` can find the module *name*.

    ``importlib.util.find_spec`` answers from ``sys.modules``, which proves nothing about another process, so every part
    of the name is looked up by the finders themselves.
    """
    if sys.path != _searched:  # Airflow has the archive of a zipped DAG on it only while it loads that
        _found.clear()
        _searched[:] = sys.path
    if name not in _found and _findable(name):
        _found.add(name)  # a module that isn't found may be by and by: the path grows, files are written
    return name in _found


def _findable(name: str) -> bool:
    path = None
    for depth, part in enumerate(parts := name.split("."), 1):
        spec = _find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return _grown_by_parent(".".join(parts[: depth - 1]), part)
        if depth == 1 and _passing(spec):
            return False
        path = spec.submodule_search_locations
    return True


def _passing(spec: ModuleSpec) -> bool:
    """Return whether a module lies in the archive of a DAG that Airflow is loading: it is first on the path by then."""
    archive = getattr(spec.loader, "archive", None)
    return archive is not None and sys.path[:1] == [archive] and archive not in _given_paths()


def _given_paths() -> list[str]:
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)


def left_behind(name: str) -> ModuleType | None:
    """Return a module of the user's own that was loaded from a file which no search finds now; None for any other."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    return module if file is not None and is_own(name) else None


def findable_part(name: str) -> str:
    """Return as much of a module's dotted name as has a place of its own; nothing is imported to find out."""
    parts = name.split(".")
    path, found = None, 0
    for depth in range(len(parts)):
        spec = _find_spec(".".join(parts[: depth + 1]), path)
        if spec is None:
            break
        path, found = spec.submodule_search_locations, depth + 1
        if path is None:
            break
    return ".".join(parts[:found])


def source_of(name: str) -> ModuleSpec | None:
    """Return how a module's code is found, whatever is loaded under its name; None where it isn't found.

    Args:
        name: Its dotted name. The packages that it is in are imported.
    """
    if not importable(name):
        return None
    parent = name.rpartition(".")[0]
    spec = _find_spec(name, importlib.import_module(parent).__path__ if parent else None)
    return spec if hasattr(spec and spec.loader, "get_code") else None


def _grown_by_parent(parent: str, part: str) -> bool:
    """Return whether *parent*, itself importable, makes the submodule *part* when imported, as ``os.path``."""
    return bool(parent) and hasattr(sys.modules.get(parent), part)


def _find_spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = _found_by(find, name, path) if find else None
        if spec is not None:
            return spec
    return None


def _found_by(find: Callable[..., ModuleSpec | None], name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    try:
        return find(name, path, None)
    except KeyError:  # a package without a file looks for its parent among what is loaded; nothing else needs the name
        return find(name.rpartition(".")[2], path, None)
