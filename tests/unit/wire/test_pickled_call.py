"""What is checked of a call, and sent where it has to be."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_joblib import NotPicklableError
from airflow_joblib.pools import fork_safety
from tests.unit.helpers import task


class Held:
    """Counts how often one is pickled."""

    pickled = 0

    def __getstate__(self) -> dict[str, Any]:
        type(self).pickled += 1
        return {}


def summed(item: int, first: list[int], *, second: dict[str, Any]) -> Any:
    return item + sum(first) + sum(second.values())


def test_fresh_workers_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers that would have inherited the arguments are fresh ones after all, these are sent."""
    monkeypatch.setattr(fork_safety, "_unsafe_threads", lambda: ["some thread"])
    assert task(summed, backend="auto")([1, 2], [10, 20], second={"a": 100}) == [131, 132]


def test_plain_data_beside_a_culprit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be sent is refused for forked workers too, by its path, beside arguments that need no look."""
    monkeypatch.setattr(fork_safety, "_unsafe_threads", list)
    with pytest.raises(NotPicklableError) as error:
        task(summed, backend="auto")([1, 2], [10], second={"a": iter([1]).__class__, "b": (n for n in [1])})
    assert [(culprit.path, culprit.type) for culprit in error.value.culprits] == [
        ("argument 'second' → ['b']", "generator")
    ]


def test_what_is_not_plain_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of a class of the user's is pickled once to see whether it can be, and inherited all the same."""
    monkeypatch.setattr(fork_safety, "_unsafe_threads", list)
    monkeypatch.setattr(Held, "pickled", 0)
    held = Held()
    identity = id(held)
    assert task(lambda _, held: id(held) == identity, backend="auto")([1, 2], held=held) == [True, True]
    assert Held.pickled == 1
