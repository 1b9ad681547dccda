"""What the task can load and a worker can't: the error says where it lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.pickling.culprits.containers import Child
from airflow_joblib.pickling.culprits.elsewhere import find_elsewhere
from tests.unit.helpers import ONE_WORKER, task, worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
TASK = os.getpid()


class Reduced:
    """Refuses to be made elsewhere."""

    def __reduce__(self) -> Any:
        return _only_here, (os.getpid(),)


def _only_here(pid: int) -> Reduced:
    if os.getpid() != pid:
        raise OSError("not to be made here")
    return Reduced()


class State:
    """Refuses its state elsewhere."""

    def __getstate__(self) -> dict[str, int]:
        return {"pid": os.getpid()}

    def __setstate__(self, state: dict[str, int]) -> None:
        if os.getpid() != state["pid"]:
            raise RuntimeError("no state here")


class Missing:
    """Needs a module that is not there elsewhere."""

    def __reduce__(self) -> Any:
        return _imported, (os.getpid(),)


def _imported(pid: int) -> Missing:
    if os.getpid() != pid:
        import module_that_is_missing  # type: ignore[import-not-found]  # noqa: F401
    return Missing()


def closure() -> Callable[[], object]:
    """Make a function around an object that can't be loaded elsewhere."""
    held = State()
    return lambda: held


def uses_argument(item: object, given: object = None) -> int:
    return len(f"{item}{given}")


KINDS = [
    (Reduced, "OSError: not to be made here", "Reduced"),
    (State, "RuntimeError: no state here", "State"),
    (Missing, "ModuleNotFoundError: No module named 'module_that_is_missing'", "Missing"),
    (closure, "RuntimeError: no state here", "State"),
]


def error_of(call: Callable[[], object]) -> tuple[str, str]:
    """Return what a call raises, and its notes."""
    with pytest.raises((OSError, RuntimeError, ImportError)) as caught:
        call()
    return f"{caught.type.__name__}: {caught.value}", " ".join(caught.value.__notes__)


@pytest.mark.parametrize(("make", "error", "kind"), KINDS)
def test_shared_argument(make: Callable[[], object], error: str, kind: str) -> None:
    """Whatever an argument holds that a worker can't load is named by its path; no item is blamed for it."""
    work = task(uses_argument, backend="loky", **ONE_WORKER)
    said, notes = error_of(lambda: work.map([1, 2], given={"deep": [make()]}))
    assert said == error
    assert "Raised while the function uses_argument was loaded in worker" in notes
    inner = " → closure 'held'" if make is closure else ""
    assert f"can't be loaded there: argument 'given' → ['deep'] → [0]{inner} ({__name__}.{kind})." in notes
    assert "item -1" not in notes


@pytest.mark.parametrize("wrap", [list, iter])
def test_item(wrap: Callable[[Any], Any]) -> None:
    """Of an item the path begins with its index, whether the items were known or are drawn."""
    work = task(uses_argument, backend="loky", **ONE_WORKER)
    said, notes = error_of(lambda: work.map(wrap([1, {"deep": State()}, 3])))
    assert said == "RuntimeError: no state here"
    assert f"What can't be loaded there: item 1 → ['deep'] ({__name__}.State)." in notes


def test_what_the_function_refers_to() -> None:
    """Of what a function uses the path begins with its name."""
    held = {"deep": State()}
    _, notes = error_of(lambda: task(lambda item: item + len(held) * 0, backend="loky", **ONE_WORKER).map([1, 2]))
    assert f"What can't be loaded there: <lambda> → closure 'held' → ['deep'] ({__name__}.State)." in notes


def test_inherited() -> None:
    """A forked worker loads nothing of that: it inherits it."""
    lengths = task(uses_argument, backend="multiprocessing").map([1, 22], given={"deep": [Reduced(), Missing()]})
    assert lengths[1] == lengths[0] + 1


def test_another_error() -> None:
    """What fails elsewhere for another reason than in the worker is not named, and no process is left."""
    assert find_elsewhere([Child("it", State())], ValueError("another")) is None
    assert not worker_processes()
