"""The options of one decorated function: one frozen record that validates itself and resolves its defaults.

An option left at its default is read from the configuration when a run starts, never when the module is imported.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.options.backends import check_backend
from airflow_joblib.options.checks import (
    check_batch_size,
    check_checkpoint,
    check_concurrency,
    check_count,
    check_factories,
    check_label,
    check_max_failures,
    check_n_jobs,
    check_switch,
    exception_types,
    items_a_second,
    mapping,
    parameter_names,
    seconds,
)
from airflow_joblib.options.other_names import OTHER_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Defaults", "Options", "environment", "seconds", "unknown_option"]

#: Options of an Airflow task that a misspelt option is compared with; Airflow itself judges all others.
TASK_OPTIONS: Final = str.split("""
    allow_nested_operators depends_on_past do_xcom_push doc doc_md email_on_failure execution_timeout executor
    executor_config inlets map_index_template max_active_tis_per_dag max_active_tis_per_dagrun max_retry_delay
    on_execute_callback on_failure_callback on_retry_callback on_skipped_callback on_success_callback outlets owner
    params pool pool_slots post_execute pre_execute priority_weight queue resources retries retry_delay
    retry_exponential_backoff retry_policy run_as_user show_return_value_in_logs start_date task_display_name
    task_id templates_dict templates_exts trigger_rule wait_for_downstream weight_rule""")

#: Options of the configuration that are whole numbers, and what each counts.
_NUMBERS: Final = {"n_jobs": "worker count", "memory_budget": "size in MiB", "checkpoint_days": "number of days"}
#: What a switch of the configuration may be, as Airflow reads one.
_SWITCHES = {**dict.fromkeys(("t", "true", "1"), True), **dict.fromkeys(("f", "false", "0"), False)}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a decorator names no value: the ``[joblib]`` section.

    Attributes:
        n_jobs: Workers, joblib's meaning.
        backend: Name of the backend.
        memory_budget: Mebibytes of pickled items kept between their check and their dispatch.
        record: Whether a task shows its runs in an XCom.
        checkpoint_days: Days after its last use that a checkpoint is removed; 0 for never.
    """

    n_jobs: int = -1
    backend: str = "auto"
    memory_budget: int = 256
    record: bool = True
    checkpoint_days: int = 14

    @classmethod
    def read(cls, get: Callable[[str], str | None]) -> Defaults:
        """Read the section through *get*, which takes an option's name and returns its text, or None.

        Raises:
            InvalidOptionError: An option has a value it can't have.
        """
        found: dict[str, Any] = {name: text for name in ("backend", *_NUMBERS) if (text := get(name))}
        for name in _NUMBERS.keys() & found.keys():
            found[name] = _configured_number(name, found[name])
        if text := get("record"):
            found["record"] = _configured_switch("record", text)
        if "backend" in found:
            check_backend(found["backend"], "[joblib] backend")
        return cls(**found)


def _configured_number(name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or (number == 0 if name == "n_jobs" else number < 0):
        msg = f"[joblib] {name} is {text!r}, which is not a {_NUMBERS[name]}. "
        raise InvalidOptionError(msg + f"Set AIRFLOW__JOBLIB__{name.upper()} to a whole number, or unset it.")
    return number


def _configured_switch(name: str, text: str) -> bool:
    value = _SWITCHES.get(text.strip().lower())
    if value is None:
        msg = f"[joblib] {name} is {text!r}. Set AIRFLOW__JOBLIB__{name.upper()} to True or False, or unset it."
        raise InvalidOptionError(msg)
    return value


def environment(name: str) -> str | None:
    """Return an option of the ``[joblib]`` section from the environment, as Airflow spells it."""
    return os.environ.get(f"AIRFLOW__JOBLIB__{name.upper()}")


@dataclass(frozen=True, slots=True)
class Options:
    """How one decorated function fans out. ``n_jobs`` and ``backend`` of None come from the configuration.

    Attributes:
        n_jobs: Workers, joblib's meaning: -1 for every CPU this process may use, -2 for all but one.
        backend: ``auto``, ``multiprocessing``, ``loky``, ``threading``, ``sequential``, ``dask``, ``ray``, ``spark`` or
            a name registered with joblib.
        backend_options: Keyword arguments for ``joblib.parallel_config``, or where a cluster is.
        over: Name of the parameter that takes the item, or names of those that it is spread over; None for the first.
        batch_size: Items per dispatch, or ``"auto"``.
        per_worker: Parameter name to a function that makes the resource, as a context manager or a plain value.
        item_retries: Tries after the first for one item.
        item_retry_delay: Seconds before the first retry; each further one waits twice as long, with jitter.
        item_retry_on: Types of exceptions that are worth another try.
        item_timeout: Seconds that one try of one item may take, or None.
        max_failures: Items that may fail for good: a count, or a fraction below 1.
        fail_fast: Whether the failure that is one too many ends the run; else every item runs first.
        checkpoint: Whether, or where, finished items are kept for another try.
        rate_limit: Items that may start in a second, over all workers; None for any number.
        label: Returns a short text that names an item; None for the item's repr.
        concurrency: Items of an asynchronous function that one worker runs at a time; None for the usual number.
    """

    n_jobs: int | None = None
    backend: str | None = None
    backend_options: Mapping[str, Any] = field(default_factory=dict)
    over: str | tuple[str, ...] | None = None
    batch_size: int | Literal["auto"] = "auto"
    per_worker: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    item_retries: int = 0
    item_retry_delay: float = 1.0
    item_retry_on: tuple[type[Exception], ...] = (Exception,)
    item_timeout: float | None = None
    max_failures: float = 0
    fail_fast: bool = True
    checkpoint: bool | str = False
    rate_limit: float | None = None
    label: Callable[[Any], str] | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        """Check every option, and make loose input strict.

        Raises:
            InvalidOptionError: An option has a value it can't have.
        """
        check_n_jobs(self.n_jobs)
        if self.backend is not None:
            check_backend(self.backend, "backend")
        check_batch_size(self.batch_size)
        self._set(over=parameter_names(self.over))
        self._set(backend_options=mapping("backend_options", self.backend_options))
        self._set(per_worker=mapping("per_worker", self.per_worker))
        check_factories(self.per_worker)
        check_count("item_retries", self.item_retries)
        self._set(item_retry_delay=seconds("item_retry_delay", self.item_retry_delay, least=0))
        self._set(item_retry_on=exception_types("item_retry_on", self.item_retry_on))
        if self.item_timeout is not None:
            self._set(item_timeout=seconds("item_timeout", self.item_timeout))
        check_max_failures(self.max_failures)
        check_switch("fail_fast", self.fail_fast)
        check_checkpoint(self.checkpoint)
        if self.rate_limit is not None:
            self._set(rate_limit=items_a_second(self.rate_limit))
        check_label(self.label)
        check_concurrency(self.concurrency)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

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
    """Return the error for an option that is a misspelling of a known one, or another library's name for it.

    None if it may be the operator's own.
    """
    if name in TASK_OPTIONS:
        return None
    if name in OTHER_NAMES:
        return InvalidOptionError(f"There is no option {name!r} here. {OTHER_NAMES[name]}")
    if name == "multiple_outputs":
        return InvalidOptionError(
            "multiple_outputs can't be used here: a parallel task returns a list, which has no keys to unroll. Take "
            "the results apart in a task downstream."
        )
    near = difflib.get_close_matches(name, [*option_names(), *TASK_OPTIONS], n=1, cutoff=0.75)
    return InvalidOptionError(f"There is no option {name!r}. Did you mean {near[0]!r}?") if near else None
