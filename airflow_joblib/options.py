"""The options of one decorated function: one frozen record that validates itself and resolves its defaults.

An option left at its default is read from the configuration when a run starts, never when the module is imported.
"""

from __future__ import annotations

import difflib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_joblib.exceptions import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    #: Makes a context manager that gives what every worker process runs first: a function that can be pickled.
    Services = Callable[[], AbstractContextManager[Callable[[], None] | None]]
    #: Makes a context manager that gives a function to call now and then, which raises when the run must end.
    Watched = Callable[[], AbstractContextManager[Callable[[], None]]]

__all__ = ["BACKENDS", "Defaults", "Options", "environment", "seconds", "unknown_option"]

#: Backends known without asking joblib. The engines come as extras and aren't part of this version.
BACKENDS: Final = ("loky", "multiprocessing", "threading", "sequential")
ENGINES: Final = ("dask", "ray", "spark")

#: Options of an Airflow task that a misspelt option is compared with; Airflow itself judges all others.
TASK_OPTIONS: Final = [
    "allow_nested_operators",
    "depends_on_past",
    "do_xcom_push",
    "doc",
    "doc_md",
    "email_on_failure",
    "execution_timeout",
    "executor",
    "executor_config",
    "inlets",
    "map_index_template",
    "max_active_tis_per_dag",
    "max_active_tis_per_dagrun",
    "max_retry_delay",
    "on_execute_callback",
    "on_failure_callback",
    "on_retry_callback",
    "on_skipped_callback",
    "on_success_callback",
    "outlets",
    "owner",
    "params",
    "pool",
    "pool_slots",
    "post_execute",
    "pre_execute",
    "priority_weight",
    "queue",
    "resources",
    "retries",
    "retry_delay",
    "retry_exponential_backoff",
    "retry_policy",
    "run_as_user",
    "show_return_value_in_logs",
    "start_date",
    "task_display_name",
    "task_id",
    "templates_dict",
    "templates_exts",
    "trigger_rule",
    "wait_for_downstream",
    "weight_rule",
]

_NOT_YET = (
    "{name} is not available yet: this version accepts only {default!r}. Leave it out. The task's own retries and "
    "execution_timeout work as ever, for all items together."
)


@contextmanager
def _no_services() -> Iterator[None]:
    yield None


@contextmanager
def _unwatched() -> Iterator[Callable[[], None]]:
    yield lambda: None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a decorator names no value: the ``[joblib]`` section.

    Attributes:
        n_jobs: Workers, joblib's meaning.
        backend: Name of the backend.
        memory_budget: Mebibytes of pickled items kept between their check and their dispatch.
        services: What worker processes are given for the length of a run; no option of the section.
        watched: Ends a run that is ended from outside; no option of the section.
    """

    n_jobs: int = -1
    backend: str = "loky"
    memory_budget: int = 256
    services: Services = _no_services
    watched: Watched = _unwatched

    @classmethod
    def read(cls, get: Callable[[str], str | None]) -> Defaults:
        """Read the section through *get*, which takes an option's name and returns its text, or None.

        Raises:
            InvalidOptionError: An option has a value it can't have.
        """
        found: dict[str, Any] = {name: text for name in ("n_jobs", "backend", "memory_budget") if (text := get(name))}
        for name in {"n_jobs", "memory_budget"} & found.keys():
            found[name] = _configured_number(name, found[name])
        if "backend" in found:
            _check_backend(found["backend"], "[joblib] backend")
        return cls(**found)


def _configured_number(name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or (name == "n_jobs" and number == 0) or (name == "memory_budget" and number < 0):
        msg = f"[joblib] {name} is {text!r}, which is not a {'worker count' if name == 'n_jobs' else 'size in MiB'}. "
        raise InvalidOptionError(msg + f"Set AIRFLOW__JOBLIB__{name.upper()} to a whole number, or unset it.")
    return number


def environment(name: str) -> str | None:
    """Return an option of the ``[joblib]`` section from the environment, as Airflow spells it."""
    return os.environ.get(f"AIRFLOW__JOBLIB__{name.upper()}")


@dataclass(frozen=True, slots=True)
class Options:
    """How one decorated function fans out. ``n_jobs`` and ``backend`` of None come from the configuration.

    Attributes:
        n_jobs: Workers, joblib's meaning: -1 for every CPU this process may use, -2 for all but one.
        backend: ``loky``, ``multiprocessing``, ``threading``, ``sequential`` or a name registered with joblib.
        backend_options: Keyword arguments for ``joblib.parallel_config``.
        over: Name of the parameter that takes the item; None for the first.
        batch_size: Items per dispatch, or ``"auto"``.
        per_worker: Parameter name to a function that makes the resource, as a context manager or a plain value.
        item_retries: Tries after the first for one item. Not available yet.
        item_retry_delay: Seconds before the first retry. Not available yet.
        item_timeout: Seconds that one try of one item may take, or None. Not available yet.
        max_failures: Items that may fail for good: a count, or a fraction below 1. Not available yet.
        checkpoint: Whether, or where, finished items are kept. Not available yet.
    """

    n_jobs: int | None = None
    backend: str | None = None
    backend_options: Mapping[str, Any] = field(default_factory=dict)
    over: str | None = None
    batch_size: int | Literal["auto"] = "auto"
    per_worker: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    item_retries: int = 0
    item_retry_delay: float = 1.0
    item_timeout: float | None = None
    max_failures: float = 0
    checkpoint: bool | str = False

    def __post_init__(self) -> None:
        """Check every option, and make loose input strict.

        Raises:
            InvalidOptionError: An option has a value it can't have.
        """
        _check_n_jobs(self.n_jobs)
        if self.backend is not None:
            _check_backend(self.backend, "backend")
        _check_batch_size(self.batch_size)
        _check_over(self.over)
        self._set(backend_options=_mapping("backend_options", self.backend_options))
        self._set(per_worker=_mapping("per_worker", self.per_worker))
        _check_factories(self.per_worker)
        self._set(item_retry_delay=seconds("item_retry_delay", self.item_retry_delay))
        self._check_not_yet()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_not_yet(self) -> None:
        _check_count("item_retries", self.item_retries)
        if self.item_timeout is not None:
            seconds("item_timeout", self.item_timeout)
        _check_max_failures(self.max_failures)
        _check_checkpoint(self.checkpoint)
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name in ("item_retries", "item_retry_delay", "item_timeout", "max_failures", "checkpoint"):
            if getattr(self, name) != defaults[name]:
                raise InvalidOptionError(_NOT_YET.format(name=name, default=defaults[name]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the plain values given, since a mapping proxy can't be pickled."""
        return _restore, ({name: _plain(getattr(self, name)) for name in option_names()},)


def _restore(values: dict[str, Any]) -> Options:
    return Options(**values)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, MappingProxyType) else value


def option_names() -> tuple[str, ...]:
    """Return the names of the options of this library, in the order of the record."""
    return tuple(entry.name for entry in fields(Options))


def unknown_option(name: str) -> InvalidOptionError | None:
    """Return the error for an option that is a misspelling of a known one, None if it may be the operator's own."""
    if name in TASK_OPTIONS:
        return None
    if name == "multiple_outputs":
        return InvalidOptionError(
            "multiple_outputs can't be used here: a parallel task returns a list, which has no keys to unroll. Take "
            "the results apart in a task downstream."
        )
    near = difflib.get_close_matches(name, [*option_names(), *TASK_OPTIONS], n=1, cutoff=0.75)
    return InvalidOptionError(f"There is no option {name!r}. Did you mean {near[0]!r}?") if near else None


def seconds(name: str, value: object) -> float:
    """Return a duration, given as seconds or as a timedelta, in seconds.

    Raises:
        InvalidOptionError: It is not a duration, or not above zero.
    """
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
        msg = f"{name} must be a number of seconds above 0 or a timedelta, not {value!r}."
        raise InvalidOptionError(msg)
    return float(amount)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_n_jobs(value: object) -> None:
    if value is None or (_is_count(value) and value != 0):
        return
    msg = (
        f"n_jobs must be a whole number other than 0, not {value!r}. Give the number of workers, -1 for every CPU, "
        "-2 for all but one, or leave it out to take [joblib] n_jobs."
    )
    raise InvalidOptionError(msg)


def _check_backend(value: object, name: str) -> None:
    if value in BACKENDS or (isinstance(value, str) and value in _registered_backends()):
        return
    if value in ENGINES:
        msg = f"{name} {value!r} is not available yet. Use one of {', '.join(BACKENDS)}."
        raise InvalidOptionError(msg)
    near = difflib.get_close_matches(str(value), BACKENDS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = (
        f"{name} {value!r} is not known. {hint}Use one of {', '.join(BACKENDS)}, or register it first with "
        "joblib.register_parallel_backend()."
    )
    raise InvalidOptionError(msg)


def uses_processes(backend: str) -> bool:
    """Tell whether the workers of a backend are processes, to which everything must be sent."""
    if backend in BACKENDS:
        return backend in {"loky", "multiprocessing"}
    from joblib.parallel import BACKENDS as REGISTERED

    kind = REGISTERED.get(backend)
    if kind is not None and not isinstance(kind, type):  # a factory
        kind = kind()
    return not getattr(kind, "supports_sharedmem", False)


def _registered_backends() -> tuple[str, ...]:
    from joblib.parallel import BACKENDS as REGISTERED

    return tuple(REGISTERED)


def _check_batch_size(value: object) -> None:
    if value == "auto" or (_is_count(value) and value > 0):  # type: ignore[operator]
        return
    msg = f'batch_size must be a whole number of items above 0, or "auto", not {value!r}.'
    raise InvalidOptionError(msg)


def _check_over(value: object) -> None:
    if value is not None and not (isinstance(value, str) and value.isidentifier()):
        msg = f"over must be the name of the parameter that takes the item, not {value!r}."
        raise InvalidOptionError(msg)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    copy: dict[Any, Any]
    try:
        copy = dict(value or {})
    except (TypeError, ValueError):
        copy = {0: 0}
    if not all(isinstance(key, str) for key in copy):
        msg = f"{name} must be a mapping with strings as keys, not {type(value).__name__}."
        raise InvalidOptionError(msg)
    return MappingProxyType(copy)


def _check_factories(factories: Mapping[str, object]) -> None:
    for name, factory in factories.items():
        if not callable(factory):
            msg = (
                f"per_worker[{name!r}] must be a function that makes the resource in the worker, not "
                f"{type(factory).__name__}. Pass the function itself, or a lambda around the value."
            )
            raise InvalidOptionError(msg)


def _check_count(name: str, value: object) -> None:
    if not _is_count(value) or value < 0:  # type: ignore[operator]
        msg = f"{name} must be a whole number of at least 0, not {value!r}."
        raise InvalidOptionError(msg)


def _check_max_failures(value: object) -> None:
    fraction = isinstance(value, float) and 0 <= value < 1
    if not fraction and not (_is_count(value) and value >= 0):  # type: ignore[operator]
        msg = f"max_failures must be a count of at least 0, or a fraction of at least 0 and below 1, not {value!r}."
        raise InvalidOptionError(msg)


def _check_checkpoint(value: object) -> None:
    if not isinstance(value, bool | str | os.PathLike):
        msg = f"checkpoint must be True, False or a path, not {value!r}."
        raise InvalidOptionError(msg)
