"""What holds where a fan-out is called holds in its workers: context variables, decimal and NumPy state, filters."""

from __future__ import annotations

import decimal
import random
import threading
import warnings
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest

from airflow_joblib import ItemTimeoutError
from airflow_joblib.fan_out.items import draw
from airflow_joblib.system import warning_filters
from tests.unit.helpers import LOCAL, LOCAL_BY_DAY, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

order: ContextVar[str | None] = ContextVar("order", default=None)


def test_threads_see_context_variables() -> None:
    """Worker threads, and what a ``per_worker`` function does there, see the context variables of the call."""
    token = order.set("o-1")
    try:
        results = task(lambda item, made: (order.get(), made), backend="threading", per_worker={"made": order.get})(
            range(4)
        )
    finally:
        order.reset(token)
    assert results == [("o-1", "o-1")] * 4


def test_context_of_a_thread_is_its_own() -> None:
    """What an item sets in its context is not set in the caller's, nor in another thread's decimal context."""

    def work(item: int) -> int:
        before = decimal.getcontext().prec
        decimal.getcontext().prec = 50 + item
        order.set("changed")
        return before

    with decimal.localcontext() as context:
        context.prec = 40
        results = task(work, backend="threading")(range(8))
        assert decimal.getcontext().prec == 40
    assert results[0] == 40
    assert order.get() is None


@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_decimal_and_numpy_state(backend: str) -> None:
    """The decimal context and NumPy's error state of the call hold in worker threads."""

    def work(_: int) -> tuple[int, str]:
        try:
            np.float64(1) / np.float64(0)
        except FloatingPointError:
            return len(str(decimal.Decimal(1) / 3)), "raised"
        return 0, "passed"

    with decimal.localcontext() as context, np.errstate(divide="raise"):
        context.prec = 40
        assert task(work, backend=backend)(range(2)) == [(42, "raised")] * 2


@pytest.mark.parametrize("backend", LOCAL)
def test_warning_filters(backend: str) -> None:
    """A filter of the caller that makes an error of a warning does so in every worker, and one that hides it too."""

    def warn(item: int) -> int:
        warnings.warn("too low" if item else "any", UserWarning, stacklevel=1)
        return item

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "too low", UserWarning)
        assert task(warn, backend=backend)([0, 0]) == [0, 0]
        with pytest.raises(UserWarning, match="too low"):
            task(warn, backend=backend)([0, 1])


def test_filters_in_their_order() -> None:
    """A filter whose class is not there yet takes its place among the others when its module is imported."""
    names = [("error", "builtins", "UserWarning"), ("ignore", "wsgiref.nowhere", "X"), ("once", "builtins", "Warning")]
    given = [warning_filters.WarningFilter(act, None, (module, name), None, 0) for act, module, name in names]
    with warnings.catch_warnings():
        warning_filters.apply(given)
        assert [each[0] for each in warnings.filters] == ["error", "once"]
        warnings.simplefilter("always")
        places: list[Any] = [warnings.filters[1], None, warnings.filters[2]]
        warning_filters._put(places, 1, given[1]._replace(category=("builtins", "FutureWarning")))
        assert [each[0] for each in warnings.filters] == ["always", "error", "ignore", "once"]


FROZEN = ("time.monotonic", "time.time", "time.perf_counter")


def stopped(how: str) -> AbstractContextManager[Any]:
    """Stop the clock as a unit test does."""
    if how == "freezegun":
        found: Any = pytest.importorskip("freezegun").freeze_time("2020-01-01")
        return found  # type: ignore[no-any-return]
    if how == "time_machine":
        travel: Any = pytest.importorskip("time_machine").travel("2020-01-01", tick=False)
        return travel  # type: ignore[no-any-return]
    stack = ExitStack()
    for name in FROZEN:
        stack.enter_context(patch(name, return_value=1.0))
    return stack


@pytest.mark.parametrize("how", ["freezegun", "time_machine", "mock"])
@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
def test_clock_that_stands_still(backend: str, how: str, tmp_path: Path) -> None:
    """Results and retries come, and a limit ends an item, where a unit test has stopped the clock of the caller."""

    def fail_once(item: int) -> int:
        tried = tmp_path / str(item)
        if not tried.exists():
            tried.touch()
            raise LookupError(item)
        return item

    def wait(seconds: float) -> None:
        threading.Event().wait(seconds)

    with stopped(how):
        assert task(fail_once, backend=backend, item_retries=1)(iter(range(3))) == [0, 1, 2]
        limited = task(wait, backend=backend, item_timeout=0.2)
        if backend != "threading":  # whose limit is for Python code
            with pytest.raises(ItemTimeoutError):
                limited([0, 20])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["0", "1", "2"]


class Loader:
    """A sized input that makes its items one by one, as a data loader does."""

    def __init__(self) -> None:
        self.made = 0

    def __len__(self) -> int:
        return 1000

    def __iter__(self) -> Iterator[int]:
        for item in range(1000):
            self.made += 1
            yield item


def test_sized_inputs_that_are_lazy() -> None:
    """A progress bar or a data loader is drawn as items are needed, though it has a length; a collection is not."""
    from tqdm import tqdm

    loader = Loader()
    head, rest = draw(loader, 4)
    assert (list(head), loader.made, rest is None) == ([0, 1, 2, 3], 4, False)
    loader = Loader()
    with tqdm(loader, total=1000, disable=True) as bar:
        draw(bar, 4)
        assert loader.made == 4
    for held in ([1, 2], (1, 2), {1: 2, 3: 4}.keys(), {1: 1, 2: 2}.values(), {1, 2}, np.arange(2)):
        assert draw(held, 1)[1] is None


@pytest.mark.parametrize("backend", LOCAL_BY_DAY)
def test_random_numbers_of_modules(backend: str) -> None:
    """What the modules ``random`` and ``numpy.random`` draw differs from item to item, in whichever worker."""
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    random.seed(1)
    draws = task(lambda _: (float(np.random.random()), random.random()), backend=backend, batch_size=1)(range(20))  # noqa: NPY002
    assert len({first for first, _ in draws}) == len({second for _, second in draws}) == 20
