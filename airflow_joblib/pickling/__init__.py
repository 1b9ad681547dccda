"""Check up front that what must reach a worker can, and name what can't.

::

    DAG file parsed                                task starts
         │                                              │
    check_function                              the fan-out pickles chunks
         │ dumps(verify=True)                           │ dumps(verify=True)
         ├── passes: done, in milliseconds              ├── passes: the bytes are sent
         └── fails ──┐                                  └── fails ──┐
                     │                                              │
                     │                        explain_shared, explain_items
                     └──────────────► culprits ◄────────────────────┘
                                      │      │
                                   children  advice
                                      │
                                NotPicklableError: every path, type, reason and way out; never a value

The cheap check and the sending are one and the same pickler, so what passes here arrives there.

May import options and system.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling.by_value import importable, modules_by_value, sent_by_value
from airflow_joblib.pickling.own_modules.dependencies import Dependencies, collecting, no_dependencies
from airflow_joblib.pickling.pickler import Pickler, dumps, loads
from airflow_joblib.pickling.refusals import RefusedError, UnimportableError, dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from airflow_joblib.exceptions import Culprit

__all__ = [
    "Dependencies",
    "RefusedError",
    "UnimportableError",
    "check_function",
    "dependencies",
    "dotted_name",
    "dumps",
    "explain_call",
    "explain_items",
    "explain_shared",
    "importable",
    "loads",
    "modules_by_value",
    "no_dependencies",
    "sent_by_value",
]


def check_function(
    function: Callable[..., object],
    factories: Mapping[str, Callable[..., object]],
    retry_on: tuple[type[Exception], ...] = (),
) -> None:
    """Check that *function* and everything it refers to can reach a worker.

    Args:
        function: Handles one item.
        factories: What opens the resources of a worker, by parameter name.
        retry_on: Types of exceptions that a worker has to know.

    Raises:
        NotPicklableError: Something can't, with every culprit.
    """
    with sent_by_value(modules_by_value([function, *factories.values(), *retry_on])):
        try:
            dumps((function, dict(factories), retry_on), verify=True, whole=False)
        except Exception as error:  # noqa: BLE001 - anything may be raised by the user's own reducers
            from airflow_joblib.pickling.culprits import explain  # late: a worker explains nothing

            culprits = explain.explain_function(function, factories, retry_on, error)
        else:
            return
    raise NotPicklableError(culprits) from None


def dependencies() -> AbstractContextManager[Dependencies]:
    """Pickle for workers that have nothing of the user's, for as long as the block runs."""
    return collecting(lambda value: Pickler(io.BytesIO(), whole=False).dump(value))


def explain_call(function: Callable[..., object], error: Exception) -> Culprit:
    """Return why a call could not be pickled, each part of which can.

    Args:
        function: The call's.
        error: What pickling it has raised.
    """
    from airflow_joblib.pickling.culprits import explain  # late: a worker explains nothing

    return explain.explain_call(function, error)


def explain_shared(shared: Mapping[str, object]) -> list[Culprit]:
    """Return why the shared arguments could not be pickled, at least one culprit.

    Args:
        shared: The arguments by name. Call inside ``sent_by_value``, after pickling them has failed.
    """
    from airflow_joblib.pickling.culprits import explain  # late: a worker explains nothing

    return explain.explain_shared(shared)


def explain_items(items: Sequence[object], indices: Sequence[int]) -> list[Culprit]:
    """Return why these items could not be pickled, at least one culprit.

    Args:
        items: The items. Call inside ``sent_by_value``, after pickling them has failed.
        indices: Their positions in the whole input.
    """
    from airflow_joblib.pickling.culprits import explain  # late: a worker explains nothing

    return explain.explain_items(items, indices)
