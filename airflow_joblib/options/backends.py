"""The backends: what differs between two is a field of their records, so that no other module compares names."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from airflow_joblib.exceptions import InvalidOptionError

__all__ = ["BACKENDS", "Backend", "backend_named", "check_backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """What the workers of a backend are.

    Attributes:
        name: Its name.
        processes: Whether they are processes, to which everything must be sent.
        starts: Whether this process starts them itself, as processes.
        forks: Whether they are forked from this process.
        if_safe: Whether that is done only where it is safe, and fresh processes take their place elsewhere.
        threads: Whether they are threads of this process.
        cluster: Whether they are a cluster's.
        one: Whether there is one alone, the thread of the run.
        registered: Whether a user has registered it with joblib.
    """

    name: str
    processes: bool = False
    starts: bool = False
    forks: bool = False
    if_safe: bool = False
    threads: bool = False
    cluster: bool = False
    one: bool = False
    registered: bool = False


#: Those known without a look into joblib; the engines of clusters come as extras.
BACKENDS: Final = (
    Backend("auto", processes=True, starts=True, forks=True, if_safe=True),
    Backend("loky", processes=True, starts=True),
    Backend("multiprocessing", processes=True, starts=True, forks=True),
    Backend("threading", threads=True),
    Backend("sequential", one=True),
    Backend("dask", processes=True, cluster=True),
    Backend("ray", processes=True, cluster=True),
    Backend("spark", processes=True, cluster=True),
)
_KNOWN: Final = {backend.name: backend for backend in BACKENDS}


def backend_named(name: str) -> Backend:
    """Return the record of a backend; one registered with joblib has an attribute for whether it shares memory."""
    if name in _KNOWN:
        return _KNOWN[name]
    from joblib.parallel import BACKENDS as REGISTERED

    kind = REGISTERED.get(name)
    if kind is not None and not isinstance(kind, type):  # a factory
        kind = kind()
    return Backend(name, processes=not getattr(kind, "supports_sharedmem", False), registered=True)


def check_backend(value: object, name: str) -> None:
    """Check that a backend is known.

    Args:
        value: Its name.
        name: What it was given as, for the message.

    Raises:
        InvalidOptionError: It isn't.
    """
    if isinstance(value, str) and (value in _KNOWN or value in _registered_names()):
        return
    near = difflib.get_close_matches(str(value), _KNOWN, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = (
        f"{name} {value!r} is not known. {hint}Use one of {', '.join(_KNOWN)}, or register it first with "
        "joblib.register_parallel_backend()."
    )
    raise InvalidOptionError(msg)


def _registered_names() -> tuple[str, ...]:
    from joblib.parallel import BACKENDS as REGISTERED

    return tuple(REGISTERED)
