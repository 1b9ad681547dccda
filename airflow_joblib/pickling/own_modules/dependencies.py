"""What a function needs in workers that have installed packages at most, and nothing of the user's.

::

    Pickler ──► meets a module of the user's own ──► all that it defines travels by value
       │    ──► meets an installed one           ──► noted: workers must be able to import it
       └──► a function ──► its imports ──► the user's own modules travel along; installed ones are noted
                      └──► the names that it uses: what is sent of a module, and not all that it has

What is known of the names grows as functions are met, so an object is pickled again until nothing new is found.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from airflow_joblib.pickling.by_value import findable_part, is_own, sent_by_value
from airflow_joblib.pickling.own_modules import rebuilt
from airflow_joblib.pickling.own_modules.bytecode import absolute_name, imports_of, names_of
from airflow_joblib.pickling.own_modules.modules_of import from_elsewhere, held_by, imported, module_of
from airflow_joblib.pickling.own_modules.own_parts import parts_of_function, rest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Dependencies", "collecting", "current_dependencies", "no_dependencies"]

_current: ContextVar[Dependencies | None] = ContextVar("airflow_joblib_dependencies", default=None)

#: Attributes of a module by which its functions know where they are.
_OF_IMPORT = ("__name__", "__package__", "__path__", "__file__")
#: What may look up an attribute of a module that no code names.
_ASKS_BY_NAME = frozenset({"__dict__", "attrgetter", "dir", "getattr", "getmembers", "hasattr", "vars"})
#: What the check of a worker's software has seen to before.
_SEEN_TO = frozenset({"airflow_joblib", "cloudpickle", "joblib"}) | sys.stdlib_module_names


def current_dependencies() -> Dependencies | None:
    """Return what is collected in this context, None where workers have the task's own ``sys.path``."""
    return _current.get()


@contextmanager
def collecting(dump: Callable[[object], object]) -> Iterator[Dependencies]:
    """Collect what pickles refer to, for as long as the block runs.

    Args:
        dump: Pickles an object; what raises an error doesn't travel.
    """
    with ExitStack() as registered:
        token = _current.set(Dependencies(registered, dump))
        try:
            found = _current.get()
            assert found is not None  # noqa: S101 - just set
            yield found
        finally:
            _current.reset(token)


@contextmanager
def no_dependencies() -> Iterator[None]:
    """Pickle for workers that have the task's own ``sys.path``, whatever is collected outside the block."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


class _Namespace:
    """Stands for the globals that functions share."""

    def __init__(self, sent: rebuilt.SentModules, name: str, values: Mapping[str, Any]) -> None:
        self._parts = sent, name, {key: values[key] for key in _OF_IMPORT if key in values}
        self._held = values  # so that no other gets the same identity

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt.make_namespace, self._parts


class Dependencies:
    """What the pickles of one run refer to.

    Attributes:
        needed: Names of installed modules without which nothing runs, and what needs each.
        perhaps: Those that a method imports, which items may or may not call.
        version: Changes when more is known of what must be sent of modules.
    """

    def __init__(self, registered: ExitStack, dump: Callable[[object], object]) -> None:
        self.needed: dict[str, str] = {}
        self.perhaps: dict[str, str] = {}
        self.version = 0
        self._registered = registered
        self._dump = dump
        self._met: set[str] = set()
        self._referred: set[str] = set()
        self._modules: dict[str, ModuleType] = {}
        self._names: set[str] = set()
        self._holders: dict[str, set[str]] = {}
        self._sent = rebuilt.SentModules()
        self._namespaces: dict[int, _Namespace] = {}
        self._trying = False
        self._tried: set[str] = set()

    def meet(self, name: str) -> None:
        """Have what a module of the user's own defines travel by value."""
        if name in self._met:
            return
        self._met.add(name)
        module = sys.modules.get(name)
        if isinstance(module, ModuleType) and module.__name__ == name and is_own(name):
            self._registered.enter_context(sent_by_value([module]))

    def refer(self, name: str) -> None:
        """Take note of a module that a pickle names."""
        if name not in self._referred:
            self._note(self.needed, name, "")
            if not self._trying:
                self._referred.add(name)

    def _note(self, where: dict[str, str], name: str, who: str) -> None:
        if name.partition(".")[0] not in _SEEN_TO and (part := findable_part(name)):
            if self._trying:
                self._tried.add(part)
            else:
                where[part] = where.get(part) or who

    def settled(self, version: int) -> bool:
        """Return whether a pickle that was begun at *version* has all that it needs of modules."""
        return version == self.version or not self._modules

    def reduce_function(self, function: FunctionType, reduced: tuple[Any, ...], *, whole: bool) -> tuple[Any, ...]:
        """Return how a function travels, given cloudpickle's reduction of it to its parts.

        Args:
            function: The function.
            reduced: Its reduction.
            whole: Send what it may look up in its module as well, if that needs nothing more to be installed.
        """
        code, closure, attributes, state, set_state = parts_of_function(reduced)
        imported = self.imported_by(function)
        self._learn(function, [*imported, *held_by(function, state)])
        used = state["__globals__"]
        rest = self.travelling_alone(rest_of(function, used)) if whole else {}
        given = set_state, (attributes, {**state, "__globals__": {**rest, **used}}), imported
        return (
            rebuilt.make_function,
            (self._namespace(function), code, closure),
            given,
            None,
            None,
            rebuilt.set_function_state,
        )

    def travelling_alone(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return those of *values* that can be sent and need nothing more of workers; none within such a trial."""
        return {} if self._trying else {name: value for name, value in values.items() if self._travels_alone(value)}

    def _travels_alone(self, value: object) -> bool:
        """Return whether a value can be sent, and needs no more of installed packages than what is sent anyway."""
        self._tried.clear()
        if from_elsewhere(value) and module_of(value).partition(".")[0] not in _SEEN_TO:
            return False
        return self._travels(value) and self._tried <= self.needed.keys()

    def _learn(self, function: FunctionType, held: Iterable[ModuleType]) -> None:
        names = names_of(function.__code__)
        if not names <= self._names:
            self._names |= names
            self.version += 1
        for module in held:
            if is_own(module.__name__):
                self._add(module)
                self._holders[module.__name__] |= names

    def _add(self, module: ModuleType) -> None:
        if module.__name__ not in self._modules:
            self._modules[module.__name__] = module
            self._holders[module.__name__] = set()
            self.version += 1

    def _namespace(self, function: FunctionType) -> _Namespace:
        values = function.__globals__
        if id(values) not in self._namespaces:
            name = str(values.get("__name__", ""))
            module = sys.modules.get(name)
            known = module is not None and vars(module) is values and is_own(name)
            self._namespaces[id(values)] = _Namespace(self._sent, name if known else "", values)
        return self._namespaces[id(values)]

    def imported_by(self, function: FunctionType) -> list[ModuleType]:
        """Return the user's own modules that a function imports; take note of the installed ones."""
        found: dict[str, ModuleType] = {}
        for each in imports_of(function.__code__):
            name = absolute_name(each, function.__globals__)
            if name is None:
                continue
            if is_own(name.partition(".")[0]):
                found.update(imported(name, each))
            elif not each.optional:
                owner = function.__qualname__.rpartition(".")[0]
                method = owner and not owner.endswith("<locals>")
                self._note(self.perhaps if method else self.needed, name, function.__qualname__)
        return list(found.values())

    def owns(self, module: ModuleType) -> bool:
        """Return whether a module is one of the user's, to be sent as such."""
        return is_own(module.__name__) and sys.modules.get(module.__name__) is module

    def reduce_module(self, module: ModuleType) -> tuple[Any, ...]:
        """Return how a module of the user's own travels: with those of its attributes that code names."""
        self._add(module)
        self.meet(module.__name__)
        sent = {key: vars(module)[key] for key in _OF_IMPORT if key in vars(module)}
        if "__path__" in sent:
            sent["__path__"] = list(sent["__path__"])
        make = rebuilt.make_module, (self._sent, module.__name__, sent)
        return *make, self.sent_of(module), None, None, rebuilt.fill_module

    def sent_of(self, module: ModuleType) -> dict[str, Any]:
        """Return the attributes of a module that travel with it.

        What a function that holds the module names must travel; what others name, or may look up, travels if it can.
        """
        if self._trying:
            return {}
        holders = self._holders[module.__name__]
        must = {*holders, "__getattr__"}
        may = self._names if _ASKS_BY_NAME.isdisjoint(holders) else vars(module).keys()
        return {
            name: value
            for name, value in list(vars(module).items())
            if name in must
            or (name in may and not (name.startswith("__") or from_elsewhere(value)) and self._travels(value))
        }

    def _travels(self, value: object) -> bool:
        self._trying = True
        try:
            self._dump(value)
        except Exception:  # noqa: BLE001 - pickling runs code of the user
            return False
        finally:
            self._trying = False
        return True
