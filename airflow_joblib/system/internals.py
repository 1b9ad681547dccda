"""Names of other libraries that are no public API: whether they are where they are known to be, and the message if not.

Each library has one place that lists its names and looks whether they are there, where the library is loaded anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_joblib.exceptions import ParallelTaskError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["gone", "has", "missing", "need"]

_GONE = (
    "airflow-joblib {ours} can't work with {library} {theirs}, which has no {name}: install a version of "
    "airflow-joblib that knows this {library}, or a version of {library} that this one was tested with."
)


def has(owner: object, name: str) -> bool:
    """Return whether a dotted name leads somewhere; what is only declared, and set later, is there too."""
    first, _, rest = name.partition(".")
    if not first:
        return True
    if hasattr(owner, first):
        return has(getattr(owner, first), rest)
    owners = owner.__mro__ if isinstance(owner, type) else (owner,)
    return not rest and any(first in getattr(each, "__annotations__", {}) for each in owners)


def need(library: str, owner: object, names: Iterable[str], *, of: str) -> None:
    """Check that an object of another library has the names that are used of it.

    Args:
        library: Name of the distribution.
        owner: The object, or its class.
        names: What it must have, dotted.
        of: What the message calls the object.

    Raises:
        ParallelTaskError: It lacks one.
    """
    if (name := missing(owner, names)) is not None:
        raise gone(library, f"{of}.{name}")


def missing(owner: object, names: Iterable[str]) -> str | None:
    """Return the first of some dotted names that leads nowhere; None where all are there."""
    return next((name for name in names if not has(owner, name)), None)


def gone(library: str, name: str, *distributions: str) -> ParallelTaskError:
    """Return the error for a name that is not there.

    Args:
        library: What the message calls the library.
        name: The name, dotted.
        *distributions: Those whose version counts, the first that is installed; without any, *library* is one.
    """
    theirs = _version(*(distributions or (library,)))
    return ParallelTaskError(_GONE.format(ours=_version("airflow-joblib"), library=library, theirs=theirs, name=name))


def _version(*distributions: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: it takes longer than all else here

    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "of an unknown version"
