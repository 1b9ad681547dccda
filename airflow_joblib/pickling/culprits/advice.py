"""Why an object can't reach a worker, and what to do instead.

Types are known by dotted name and looked up along the type's MRO, so that no driver, client or framework is ever
imported, and a subclass of the user's gets its base's advice. Only names of types, and a line of a file, ever enter
a sentence: an exception's message may well hold a password.
"""

from __future__ import annotations

import copyreg
import functools
import pickle
from dataclasses import dataclass
from pathlib import PurePath
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

import cloudpickle

from airflow_joblib.pickling.known_types import KNOWN, MADE_BY_LIBRARY, MAPPED_CLASS
from airflow_joblib.pickling.refusals import UnimportableError, dotted_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["Failure", "advise", "is_known", "known_object", "too_deep"]

WAY_OUT = (
    "Create it inside the function, or once in each worker with per_worker={...}, or pass the plain data it is made "
    'from; with backend="threading" nothing is pickled.'
)
UNIMPORTABLE_ADVICE = (
    "Move the definition into the DAG file, or into a module that is installed or on the sys.path of the workers, or "
    'use backend="threading".'
)
TOO_DEEP_REASON = "it is nested too deeply to be pickled."
TOO_DEEP_ADVICE = (
    "Pass it flattened, as a list of records with the parent's number, or as the text or file it is read from; with "
    'backend="threading" nothing is pickled.'
)

#: Where the frames lie that belong to pickling itself.
_MACHINERY = frozenset({PurePath(__file__).parents[1], PurePath(cloudpickle.__file__).parent})
_MACHINERY_FILES = frozenset({pickle.__file__, copyreg.__file__})


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with one object.

    Attributes:
        error: What pickling or unpickling raised. Its message may hold values and is never shown.
        loading: Whether the object was pickled and the unpickling failed.
    """

    error: Exception
    loading: bool = False


class _Place(NamedTuple):
    function: str
    where: str


@functools.lru_cache(maxsize=4096)
def _known(kind: type) -> tuple[str, str] | None:
    """Return the reason and the advice for a known type."""
    for base in kind.__mro__:
        name = dotted_name(base)
        if name in KNOWN:
            return KNOWN[name]
        if not issubclass(kind, BaseException):  # a driver's error is data, unlike its connection
            for prefix in _packages(name):
                if prefix in KNOWN:
                    return KNOWN[prefix]
    return None


def _packages(name: str) -> Iterator[str]:
    """Yield the dotted prefixes of *name*, the longest first: ``a.b.`` and ``a.`` for ``a.b.C``."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield f"{name}."


def is_known(kind: type) -> bool:
    """Return whether a failing object of *kind* is to be blamed as a whole, not the lock somewhere inside it."""
    return _known(kind) is not None


#: Packages whose decorators make functions with state.
_DECORATORS = frozenset({"pydantic", "tenacity", "wrapt"})
#: What SQLAlchemy sets in the classes that it maps, and in their base.
_MAPPED = frozenset({"_sa_class_manager", "_sa_registry"})


def known_object(obj: object) -> tuple[str, str] | None:
    """Return the reason and the advice for an object that is known by what a library has made of it, not by type."""
    if type(obj) is FunctionType:
        maker = str(obj.__globals__.get("__name__", ""))
        return MADE_BY_LIBRARY if maker.partition(".")[0] in _DECORATORS else None
    if issubclass(type(obj), type):
        mro: tuple[type, ...] = type.__dict__["__mro__"].__get__(obj)
        return None if all(_MAPPED.isdisjoint(vars(base)) for base in mro) else MAPPED_CLASS
    return None


def advise(kind: type, failure: Failure) -> tuple[str, str]:
    """Return why an object of *kind* failed, and what to do instead, a sentence each."""
    if isinstance(failure.error, UnimportableError):
        reason = f"the module {failure.error.module!r} it is defined in can't be imported by a worker."
        return reason, UNIMPORTABLE_ADVICE
    known = _known(kind)
    if known is not None:
        return known
    if too_deep(failure) and not _places(failure.error):
        return TOO_DEEP_REASON, TOO_DEEP_ADVICE
    return _reason(kind, failure), WAY_OUT


def too_deep(failure: Failure) -> bool:
    """Return whether pickling ran into the recursion limit, be it by deep data or by a method without end."""
    return not failure.loading and isinstance(_cause(failure.error), RecursionError)


def _cause(error: BaseException) -> BaseException:
    """Return the exception under cloudpickle's ``PicklingError``, which it raises in place of a RecursionError."""
    return error.__cause__ if isinstance(error.__cause__, RecursionError) else error


def _reason(kind: type, failure: Failure) -> str:
    raised = dotted_name(type(_cause(failure.error)))
    places = _places(failure.error)
    where = f" ({places[0].where})" if places else ""
    if failure.loading:
        return f"unpickling it raised {raised}{where}."
    if not places:
        return f"pickle has no way to turn a {dotted_name(kind)} into bytes."
    name = places[0].function
    if name.startswith("__") and name.endswith("__"):
        return f"its {name} raised {raised}{where}."
    return f"pickling it raised {raised}{where}."


def _places(error: BaseException) -> list[_Place]:
    """Return where in the user's code, or a library's, *error* came from, the outermost call first."""
    return [place for place in map(_place, _frames(_cause(error).__traceback__)) if place is not None]


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _place(traceback: TracebackType) -> _Place | None:
    code = traceback.tb_frame.f_code
    file = PurePath(code.co_filename)
    if code.co_filename in _MACHINERY_FILES or not _MACHINERY.isdisjoint(file.parents):
        return None
    return _Place(code.co_name, f"line {traceback.tb_lineno} of {file.name}")
