"""What of Airflow's own state a unit test changes for its length, and how it is put back."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_joblib.taskflow import airflow_internals
from airflow_joblib.taskflow.airflow_names import CONTEXT, TASK_RUNNER, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["lent_context", "lent_supervisor", "masks_restored", "warnings_restored"]


@contextmanager
def lent_supervisor(comms: object) -> Iterator[None]:
    """Put something in the place of the connection to the supervisor; it is as before afterwards."""
    runner = vars(airflow_internals.module_with(f"{TASK_RUNNER}:SUPERVISOR_COMMS"))
    before = {name: runner[name] for name in ("SUPERVISOR_COMMS",) if name in runner}
    airflow_internals.set_supervisor(comms)
    try:
        yield
    finally:
        runner.pop("SUPERVISOR_COMMS", None)
        runner.update(before)


@contextmanager
def lent_context(context: Any) -> Iterator[None]:
    """Set the current context; the stack of contexts is as before afterwards."""
    module: Any = airflow_internals.module_with(f"{CONTEXT}:_CURRENT_CONTEXT")
    before = list(module._CURRENT_CONTEXT)  # noqa: SLF001
    airflow_internals.set_context([context])
    try:
        yield
    finally:
        airflow_internals.set_context(before)


@contextmanager
def masks_restored() -> Iterator[None]:
    """Have the masks known afterwards that were known before, and no others.

    That a secret is too short to be masked is not logged in between: Airflow logs that once a process, in the first
    test that has such a one.
    """
    masker = airflow_internals.secrets_masker()
    patterns, replacer = set(masker.patterns), masker.replacer
    wanted = airflow_internals.log_short_secrets(wanted=False)
    try:
        yield
    finally:
        masker.patterns, masker.replacer = patterns, replacer
        airflow_internals.log_short_secrets(wanted=wanted)


@contextmanager
def warnings_restored() -> Iterator[None]:
    """Have Airflow take over how warnings are shown in this block as it does in a task, and forget it afterwards."""
    before = []
    for place in WARNINGS:
        module, _, name = place.partition(":")
        owner: Any = importlib.import_module(module)
        *owners, name = name.split(".")
        for part in owners:
            owner = getattr(owner, part, None)
        if hasattr(owner, name):
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, None)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
