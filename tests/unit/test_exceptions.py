"""The errors this library raises itself: what they can be caught as, what they say, that they travel."""

from __future__ import annotations

import copy
import pickle

import pytest

from airflow_joblib import exceptions
from airflow_joblib.exceptions import Culprit, NotPicklableError, ParallelTaskError

LOCK = Culprit("save → global 'lock'", "_thread.lock", "It belongs to one process.", "Make it in per_worker.")
FILE = Culprit("save → default 'out'", "io.TextIOWrapper", "It is open here only.", "Pass its path.")


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidOptionError", ValueError),
        ("NotPicklableError", TypeError),
        ("ItemTimeoutError", TimeoutError),
        ("WorkerLostError", RuntimeError),
        ("TooManyFailuresError", RuntimeError),
    ],
)
def test_bases(name: str, builtin: type[Exception]) -> None:
    """Each error is one of ours and the builtin that people already catch."""
    error = getattr(exceptions, name)
    assert issubclass(error, ParallelTaskError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    "error",
    [
        ParallelTaskError("what, why"),
        exceptions.InvalidOptionError("what, why"),
        exceptions.ItemTimeoutError(2.5, 17, "'a'"),
        exceptions.WorkerLostError("what, why", 3, -9),
        exceptions.TooManyFailuresError(3, 10, 2),
        exceptions.TooManyFailuresError(3, 10, 2, {"ValueError": 2, "app.Busy": 1}),
        exceptions.FailItem("why"),
        exceptions.FailItem(),
        exceptions.RetryItem("why", after=30),
        exceptions.RetryItem(),
        NotPicklableError([LOCK]),
        NotPicklableError([LOCK, FILE]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_travels(error: Exception) -> None:
    """Each error comes back from a pickle, or a copy, with its sentence, its data and its notes."""
    error.add_note("a note")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_one_culprit() -> None:
    """One culprit makes one sentence, and its path and type are the error's."""
    error = NotPicklableError([LOCK])
    assert str(error) == (
        "Can't be sent to a worker process: save → global 'lock' (_thread.lock): It belongs to one process. "
        "Make it in per_worker."
    )
    assert (error.path, error.culprit_type) == (LOCK.path, LOCK.type)
    assert error.culprits == (LOCK,)


def test_every_culprit_is_listed() -> None:
    """Several culprits are numbered, a line each."""
    head, *lines = str(NotPicklableError([LOCK, FILE])).splitlines()
    assert head == "2 objects can't be sent to a worker process:"
    assert lines == [f"  1. {LOCK}", f"  2. {FILE}"]
