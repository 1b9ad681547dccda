"""What of Airflow this library relies on though it is no public API. Imports no Airflow itself.

::

    airflow_names ──► check(): an Airflow that lacks one is an error of one sentence, before anything is done in it
           └────────► airflow_internals.CommsDecoder: the object itself, looked up when it is used

Public is what ``airflow.sdk`` exports in every supported version; of that the other modules import what they need.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_joblib.system.internals import gone, has
from airflow_joblib.taskflow.airflow_names import (
    COMMS,
    CONTEXT,
    FOR_CHECK,
    LATER,
    LEVELS,
    MASKERS,
    METRICS,
    NAMES,
    TASK_RUNNER,
    TESTING,
    places,
    places_for_testing,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from airflow_joblib.exceptions import ParallelTaskError

__all__ = [
    "check",
    "check_for_testing",
    "configuration_with_sources",
    "dag_is_being_defined",
    "is_loaded",
    "lend_context",
    "lend_supervisor",
    "log_levels",
    "log_short_secrets",
    "materialized",
    "message",
    "module_with",
    "reply",
    "set_context",
    "set_supervisor",
    "stats",
    "supervisor",
    "takes_turns",
]

#: What has not been looked at yet.
_unchecked = places()


def is_loaded() -> bool:
    """Return whether Airflow is loaded as far as a DAG can be defined or a task run.

    Raises:
        ParallelTaskError: An Airflow is loaded that this library doesn't know.
    """
    if "airflow.sdk" not in sys.modules:
        return False
    check()
    return CONTEXT in sys.modules


def check(*, load: bool = False) -> None:
    """Check that Airflow has every name that is known here. What was found once is not looked for again.

    Args:
        load: Load what is not loaded; else of a module that is not there is no more than that it could be loaded.

    Raises:
        ParallelTaskError: It lacks one; the message names that one and both versions.
    """
    for found in tuple(_unchecked):
        if _is_there(found, load=load):
            _unchecked.remove(found)


def check_for_testing() -> None:
    """Check that Airflow has what a unit test needs besides.

    Raises:
        ParallelTaskError: It lacks a name; the message has that and both versions.
    """
    check(load=True)
    for found in places_for_testing():
        _is_there(found, load=True)


def _is_there(found: tuple[str, ...], *, load: bool) -> bool:
    """Return whether a name is in one of its places; False as long as a module that may have it is not loaded."""
    for place in found:
        module, _, name = place.partition(":")
        owner = _imported(module) if load else _loaded(module)
        if owner is None and not load and _findable(module):
            return False
        if owner is not None and has(owner, name):
            return True
    raise _gone(found[0])


def _loaded(name: str) -> ModuleType | None:
    module = sys.modules.get(name)
    being_imported = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if being_imported else module


def _imported(name: str) -> ModuleType | None:
    """Import a module; None where there is none of that name, rather than one that can't be imported."""
    try:
        return sys.modules.get(name) or importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


@cache
def _findable(module: str) -> bool:
    """Return whether a module can be loaded. Its packages are not loaded to find out."""
    names, path = module.split("."), None
    for number in range(1, len(names) + 1):
        name = ".".join(names[:number])
        if (loaded := sys.modules.get(name)) is not None:
            path = getattr(loaded, "__path__", None)
        elif (spec := _spec(name, path)) is not None:
            path = spec.submodule_search_locations
        else:
            return False
    return True


def _spec(name: str, path: Any) -> ModuleSpec | None:
    """Return where a module is, given the path of its package."""
    finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
    with suppress(ModuleNotFoundError):
        return next(filter(None, (finder.find_spec(name, path) for finder in finders)), None)
    return None


def _gone(place: str) -> ParallelTaskError:
    module, _, name = place.partition(":")
    dotted = f"{module}.{name}" if name else f"module {module}"
    return gone("Airflow", dotted, "apache-airflow-core", "apache-airflow", "apache-airflow-task-sdk")


def __getattr__(name: str) -> Any:
    """Look up one of the names in the table, in the Airflow that is installed."""
    if name in LATER:
        return _object(LATER[name])
    if (places_of := NAMES.get(name) or FOR_CHECK.get(name) or TESTING.get(name)) is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    for place in places_of:
        if (found := _object(place)) is not None:
            return found
    raise _gone(places_of[0])


def _object(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(_imported(module), name, None)


# What Airflow keeps in variables of its modules.


def dag_is_being_defined() -> bool:
    """Return whether this code runs in the body of a DAG. Without Airflow nothing of it is imported to find out.

    Raises:
        ParallelTaskError: An Airflow is loaded that this library doesn't know: items must not run while it loads a DAG.
    """
    return is_loaded() and sys.modules[CONTEXT].DagContext.get_current() is not None


def materialized(items: Any) -> Any:
    """Take what a mapped task upstream returned in one request instead of one for each item."""
    return items[:] if type(items).__name__ == "LazyXComSequence" else items


def configuration_with_sources(section: str) -> dict[str, tuple[str, str]]:
    """Return the options of a section, each with its value and with Airflow's word for where that comes from."""
    core = __getattr__("core_conf")
    found = core.as_dict(display_source=True, display_sensitive=False)
    return dict(found.get(section, {}))


def may_define_dags(file: str) -> bool:
    """Return whether Airflow would load a file, by its guess at the content.

    Raises:
        OSError: The file can't be read.
    """
    look = __getattr__("might_contain_dag")
    later = {"conf": __getattr__("conf")} if "conf" in inspect.signature(look).parameters else {}  # Airflow 3.4
    return bool(look(file, safe_mode=True, **later))


def supervisor() -> Any:
    """Return the connection to the supervisor; None where no task runs in this process."""
    return getattr(sys.modules.get(TASK_RUNNER), "SUPERVISOR_COMMS", None)


def set_supervisor(comms: object) -> None:
    """Put something in the place of the connection to the supervisor; the task runner's module must be loaded.

    Raises:
        ParallelTaskError: Airflow would not look for it there.
    """
    runner: Any = module_with(f"{TASK_RUNNER}:SUPERVISOR_COMMS")
    runner.SUPERVISOR_COMMS = comms


def takes_turns(comms: object) -> bool:
    """Return whether a connection to the supervisor may be used by several threads: that of 3.1 has no lock."""
    return hasattr(comms, "_thread_lock")


def reply(decoder: Any, frame: bytes) -> Any:
    """Return what a frame from the supervisor holds, or raise the error that it brings."""
    return decoder._from_frame(decoder.resp_decoder.decode(frame))  # noqa: SLF001


def log_short_secrets(*, wanted: bool) -> bool:
    """Set whether this process logs, once, that a secret is too short to be masked; return whether it would have."""
    kind: Any = module_with(f"{MASKERS}:SecretsMasker").SecretsMasker
    before = not getattr(kind, "_has_warned_short_secret", True)
    kind._has_warned_short_secret = not wanted  # noqa: SLF001 - where there is no such name it does no harm
    return before


def set_context(context: list[Any]) -> None:
    """Set the stack of contexts of this process; the module must be loaded.

    Raises:
        ParallelTaskError: Airflow would not look for it there.
    """
    module: Any = module_with(f"{CONTEXT}:_CURRENT_CONTEXT")
    module._CURRENT_CONTEXT[:] = context  # noqa: SLF001


def lend_supervisor(find: Callable[[], Any]) -> tuple[ModuleType, str, Any]:
    """Return what to set to what, so that the connection to the supervisor is what *find* returns, if not None."""
    runner = module_with(f"{TASK_RUNNER}:SUPERVISOR_COMMS")
    before = vars(runner).get("__getattr__")

    def lookup(name: str) -> Any:
        if name == "SUPERVISOR_COMMS" and (comms := find()) is not None:
            return comms
        if before is not None:
            return before(name)
        msg = f"module {TASK_RUNNER!r} has no attribute {name!r}"
        raise AttributeError(msg)

    return runner, "__getattr__", lookup


def lend_context(find: Callable[[], Any]) -> tuple[ModuleType, str, Any]:
    """Return what to set to what, so that the current context is what *find* returns, if not None."""
    module: Any = module_with(f"{CONTEXT}:_get_current_context")
    before = module._get_current_context  # noqa: SLF001

    def current() -> Any:
        found = find()
        return before() if found is None else found

    return module, "_get_current_context", current


def module_with(place: str) -> ModuleType:
    """Return the module, which must be loaded, of a name that is written as in the table.

    Raises:
        ParallelTaskError: It lacks the name.
    """
    module, _, name = place.partition(":")
    found = sys.modules[module]
    if not has(found, name):
        raise _gone(place)
    return found


def message(name: str) -> Any:
    """Return the class of a message between a task and its supervisor; None where this Airflow has none."""
    return _object(f"{COMMS}:{name}")


def stats() -> Any:
    """Return what takes Airflow's metrics, with ``incr`` and ``timing``; None where this Airflow has none for tasks."""
    module: Any = _imported(METRICS)
    return module if hasattr(module, "incr") else getattr(module, "Stats", None)


def log_levels() -> Any:
    """Return Airflow's levels of structlog's namespaces; None where it has not set logging up."""
    module, _, name = LEVELS.partition(":")
    return getattr(sys.modules.get(module), name, None)
