"""The user's modules in a process that has none of them, made of what has been sent.

::

    function ──► its globals are the namespace of a sent module, whose __builtins__ have an __import__ of their own
                     └── import helpers ──► a sent module of that name; else Python's own import

They are in no ``sys.modules``: two runs may have two versions of a module side by side in one process, and a module is
gone with the functions that know it.
"""

from __future__ import annotations

import builtins
import functools
import types
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.own_modules.bytecode import Import, absolute_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["SentModules", "fill_module", "make_function", "make_module", "make_namespace", "set_function_state"]

_import = builtins.__import__


class SentModules:
    """The modules of one pickle, by name."""

    def __init__(self) -> None:
        self._modules: dict[str, types.ModuleType] = {}
        self._listed: dict[str, types.ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import_sent}

    def __reduce__(self) -> tuple[type[SentModules], tuple[()]]:
        """Reduce to a new one, which what travels with it fills."""
        return SentModules, ()

    def make(self, name: str, attributes: Mapping[str, Any], *, listed: bool) -> types.ModuleType:
        """Return the module of this name, made now if it is new here.

        Args:
            name: Its dotted name; empty for one that nobody imports.
            attributes: What Python's own import sets.
            listed: Whether functions can import it.
        """
        module = self._modules.get(name)
        if module is None:
            module = types.ModuleType(name or str(attributes.get("__name__", "")))
            vars(module).update(attributes, __builtins__=self._builtins)
            if name:
                self._modules[name] = module
        if listed:
            self._listed[name] = module
        return module

    def _import_sent(
        self,
        name: str,
        namespace: Mapping[str, Any] | None = None,
        local: Mapping[str, Any] | None = None,
        members: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """Import as ``__import__`` does, a sent module before any other."""
        wanted = absolute_name(Import(name, level, (), optional=False), namespace or {})
        if wanted is None or wanted not in self._listed:
            return _import(name, namespace, local, members or (), level)
        for member in members or ():
            self._join(f"{wanted}.{member}")
        top = self._join(wanted)
        return self._listed[wanted] if members else top

    def _join(self, name: str) -> types.ModuleType:
        """Make every part of a dotted name an attribute of the part before it, and return the first one."""
        parent, _, last = name.rpartition(".")
        if not parent:
            return self._listed[name]
        top = self._join(parent)
        if name in self._listed and last not in vars(self._listed[parent]):
            setattr(self._listed[parent], last, self._listed[name])
        return top


def make_module(sent: SentModules, name: str, attributes: Mapping[str, Any]) -> types.ModuleType:
    """Make a module that functions can import."""
    return sent.make(name, attributes, listed=True)


def make_namespace(sent: SentModules, name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Make the globals that a module's functions share."""
    return vars(sent.make(name, attributes, listed=False))


def fill_module(module: types.ModuleType, values: Mapping[str, Any]) -> None:
    """Set a module's attributes."""
    vars(module).update(values)
    vars(module).setdefault("__getattr__", functools.partial(_not_sent, module.__name__))


def _not_sent(module: str, name: str) -> Any:
    msg = (
        f"module {module!r} was sent to this worker without {name!r}, which no code that was sent along names. Import "
        f"it where it is used: from {module} import {name}"
    )
    raise AttributeError(msg)


def make_function(namespace: dict[str, Any], code: types.CodeType, closure: tuple[Any, ...] | None) -> Any:
    """Make a function with these globals."""
    return types.FunctionType(code, namespace, None, None, closure)


def set_function_state(function: types.FunctionType, given: tuple[Callable[..., None], Any, object]) -> None:
    """Fill in a function; the modules that it imports have arrived with its state."""
    set_state, state, _ = given
    before = function.__globals__["__builtins__"]
    set_state(function, state)
    function.__globals__["__builtins__"] = before  # which functions that are defined in this one take over
