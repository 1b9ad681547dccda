"""Each option's own check: what it may be, and what to give instead of what it was given."""

from __future__ import annotations

import inspect
import math
import os
import re
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from airflow_joblib.exceptions import InvalidOptionError
from airflow_joblib.options.over import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "check_batch_size",
    "check_checkpoint",
    "check_concurrency",
    "check_count",
    "check_factories",
    "check_label",
    "check_max_failures",
    "check_n_jobs",
    "check_switch",
    "exception_types",
    "items_a_second",
    "mapping",
    "parameter_names",
    "seconds",
]


def seconds(name: str, value: object, *, least: float = math.ulp(0.0)) -> float:
    """Return a duration, given as seconds or as a timedelta, in seconds.

    Raises:
        InvalidOptionError: It is not a duration, or less than *least*.
    """
    amount = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not least <= amount < float("inf"):
        bound = "of at least 0" if least == 0 else "above 0"
        msg = f"{name} must be a number of seconds {bound} or a timedelta, not {value!r}."
        raise InvalidOptionError(msg)
    return float(amount)


#: Seconds of each span of time that a rate may be given for, by its names.
_SPANS: Final = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86400),
}
_RATE: Final = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*")
#: Bounds of a rate: the intervals of all that wait have to fit 64 bits, in nanoseconds.
_SLOWEST, _FASTEST = 1 / 86400, 1e6


def items_a_second(value: object) -> float:
    """Return a rate, given as a number or as a text such as ``"100/min"``, in items a second.

    Raises:
        InvalidOptionError: It is no rate, or one that no run could keep.
    """
    amount = _rate_of(value) if isinstance(value, str) else value
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not _SLOWEST <= amount <= _FASTEST:
        msg = (
            f'rate_limit must be a number of items a second, or a text such as "10/s", "100/min", "5000/h" or "200/day"'
            f", of at least 1/day and at most 1,000,000/s, not {value!r}."
        )
        raise InvalidOptionError(msg)
    return float(amount)


def _rate_of(text: str) -> float | None:
    found = _RATE.fullmatch(text)
    if found is None or found[2] not in _SPANS:
        return None
    return float(found[1]) / _SPANS[found[2]]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_n_jobs(value: object) -> None:
    """Refuse what is no number of workers."""
    if value is None or (_is_count(value) and value != 0):
        return
    msg = (
        f"n_jobs must be a whole number other than 0, not {value!r}. Give the number of workers, -1 for every CPU, "
        "-2 for all but one, or leave it out to take [joblib] n_jobs."
    )
    raise InvalidOptionError(msg)


def check_batch_size(value: object) -> None:
    """Refuse what is no number of items per dispatch."""
    if value == "auto" or (_is_count(value) and value > 0):  # type: ignore[operator]
        return
    msg = f'batch_size must be a whole number of items above 0, or "auto", not {value!r}.'
    raise InvalidOptionError(msg)


def parameter_names(value: Any) -> str | tuple[str, ...] | None:
    """Return the name of the parameter that takes an item, or a tuple of the names of several.

    Raises:
        InvalidOptionError: It is neither, or has a name twice.
    """
    if value is None or (isinstance(value, str) and value.isidentifier()):
        return value
    names = tuple(value) if isinstance(value, tuple | list) else ()
    if names and all(isinstance(name, str) and name.isidentifier() for name in names) and len({*names}) == len(names):
        return names
    parts = re.findall(r"\w+", value) if isinstance(value, str) else []
    example = parts if len(parts) > 1 and all(map(str.isidentifier, parts)) else ("record_id", "value")
    msg = (
        "over must be the name of the parameter that takes the item, or a tuple with the names of those that it is "
        f"spread over, each once, not {value!r}. Write it as over={quoted(example)}."
    )
    raise InvalidOptionError(msg)


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return a copy of a mapping with strings as keys, which nobody can change."""
    copy: dict[Any, Any]
    try:
        copy = dict(value or {})
    except (TypeError, ValueError):
        copy = {0: 0}
    if not all(isinstance(key, str) for key in copy):
        msg = f"{name} must be a mapping with strings as keys, not {type(value).__name__}."
        raise InvalidOptionError(msg)
    return MappingProxyType(copy)


def check_factories(factories: Mapping[str, object]) -> None:
    """Refuse a ``per_worker`` resource that is no function."""
    for name, factory in factories.items():
        if not callable(factory):
            msg = (
                f"per_worker[{name!r}] must be a function that makes the resource in the worker, not "
                f"{type(factory).__name__}. Pass the function itself, or a lambda around the value."
            )
            raise InvalidOptionError(msg)


def check_label(value: object) -> None:
    """Refuse what can't be called with an item."""
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        msg = f"label must be a function that takes an item and returns a short text, not {value!r}."
        raise InvalidOptionError(msg)


def check_count(name: str, value: object) -> None:
    """Refuse what is no count."""
    if not _is_count(value) or value < 0:  # type: ignore[operator]
        msg = f"{name} must be a whole number of at least 0, not {value!r}."
        raise InvalidOptionError(msg)


def check_concurrency(value: object) -> None:
    """Refuse what is no number of items that run at a time."""
    if value is None or (_is_count(value) and value > 0):  # type: ignore[operator]
        return
    msg = f"concurrency must be a whole number above 0, the items that one worker runs at the same time, not {value!r}."
    raise InvalidOptionError(msg)


def exception_types(name: str, value: Any) -> tuple[type[Exception], ...]:
    """Return exception types as a tuple, which may be given as one type.

    Raises:
        InvalidOptionError: One is none, or ends more than an item.
    """
    kinds = (value,) if isinstance(value, type) or not isinstance(value, tuple | list) else tuple(value)
    if all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        return kinds
    msg = f"{name} must be an exception type or a tuple of them, each derived from Exception, not {value!r}."
    if hasattr(value, "evaluate"):
        msg = (
            f"{name} can't be a {type(value).__name__}: a retry policy of Airflow decides about the tries of a whole "
            "task. Give it to the task as retry_policy, and here the exception types that are worth another try of an "
            "item; an item itself may raise FailItem or RetryItem(after=...)."
        )
    raise InvalidOptionError(msg)


def check_max_failures(value: object) -> None:
    """Refuse what is neither a count nor a fraction."""
    fraction = isinstance(value, float) and 0 <= value < 1
    if not fraction and not (_is_count(value) and value >= 0):  # type: ignore[operator]
        msg = f"max_failures must be a count of at least 0, or a fraction of at least 0 and below 1, not {value!r}."
        raise InvalidOptionError(msg)


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}."
        raise InvalidOptionError(msg)


def check_checkpoint(value: object) -> None:
    """Refuse what is neither a yes or no nor a place that a later try finds as well."""
    if not isinstance(value, bool | str | os.PathLike):
        msg = f"checkpoint must be True, False or a path, not {value!r}."
        raise InvalidOptionError(msg)
    if isinstance(value, bool):
        return
    where = os.path.expanduser(os.fspath(value))  # noqa: PTH111 - a URL may be no path
    if "://" not in where and not where.startswith(("/", "{")):
        msg = (
            f"checkpoint must be True, a URL or an absolute path, not {value!r}: a later try may run in another folder."
        )
        raise InvalidOptionError(msg)
