"""The decorator and its object: every call form outside a DAG, and what can't be decorated."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import InvalidOptionError, ParallelTask, parallel_task
from airflow_joblib.pickling import dumps
from tests.unit.helpers import ONE_WORKER, PROCESSES, named, note, notes, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def threads(**options: Any) -> Any:
    """Return the decorator, with two threads as workers."""
    return parallel_task(**{"n_jobs": 2, "backend": "threading", **options})


def scale(item: int, factor: int = 2, *, offset: int = 0) -> int:
    """Scale one item."""
    return item * factor + offset


class TestForms:
    """Every form of a call outside a DAG gives the list of results."""

    def test_bare(self) -> None:
        """Without parentheses every option has its default."""
        task = parallel_task(scale)
        assert isinstance(task, ParallelTask)
        assert task.options == ParallelTask(scale).options
        assert task.override(backend="threading")([1, 2]) == [2, 4]

    def test_empty_parentheses(self) -> None:
        """Empty parentheses mean the same as none."""
        assert parallel_task()(scale).options == parallel_task(scale).options

    def test_shared_arguments(self) -> None:
        """Arguments after the items are the same for every item, by place or by name."""
        task = threads()(scale)
        assert task([1, 2]) == [2, 4]
        assert task([1, 2], 3) == [3, 6]
        assert task([1, 2], factor=3, offset=1) == [4, 7]
        assert task(item=[1, 2], offset=1) == [3, 5]

    def test_map(self) -> None:
        """``.map`` runs whatever the context, with the same arguments; its items may be named too."""
        task = threads()(scale)
        assert task.map([1, 2], 3, offset=1) == [4, 7]
        assert task.map(item=[1, 2], offset=1) == [3, 5]

    def test_one_item(self) -> None:
        """``.function`` and ``__wrapped__`` are the plain function of one item."""
        task = threads()(scale)
        assert task.function(5, offset=1) == 11
        assert task.function is task.__wrapped__ is scale
        assert inspect.unwrap(task) is scale

    def test_over(self) -> None:
        """``over`` lets another parameter take the item."""
        task = threads(over="factor")(scale)
        assert task(5, [1, 2]) == [5, 10]
        assert task(item=5, factor=[1, 2], offset=1) == [6, 11]
        assert task.item == "factor"

    def test_positional_only(self) -> None:
        """Positional-only parameters work on either side of the item."""

        def power(base: int, exponent: int, /) -> int:
            return int(base**exponent)

        assert threads()(power)([1, 2, 3], 2) == [1, 4, 9]
        assert threads(over="exponent")(power)(2, [1, 2, 3]) == [2, 4, 8]

    def test_starred(self) -> None:
        """``*args`` and ``**kwargs`` of the function get what the call has beyond the named."""

        def collect(item: int, *args: int, **kwargs: int) -> tuple[int, tuple[int, ...], dict[str, int]]:
            return item, args, kwargs

        assert threads()(collect)([1, 2], 3, 4, x=5) == [(1, (3, 4), {"x": 5}), (2, (3, 4), {"x": 5})]

    @pytest.mark.parametrize(
        ("function", "items", "expected"),
        [
            (functools.partial(scale, factor=10), [1, 2], [10, 20]),
            (lambda item: item + 1, [1, 2], [2, 3]),
            (math.sqrt, [4, 9], [2.0, 3.0]),
            (str.upper, ["a", "b"], ["A", "B"]),
            ("x{}".format, None, None),
            ([3, 4, 5].count, [3, 6], [1, 0]),
        ],
        ids=["partial", "lambda", "builtin", "method of a class", "without a signature", "bound builtin"],
    )
    def test_callables(self, function: Callable[..., Any], items: list[Any] | None, expected: list[Any] | None) -> None:
        """Whatever can be called with one item can be decorated."""
        if items is None:
            with pytest.raises(TypeError, match=r"no parameter of its own|no signature"):
                threads()(function)
            return
        assert threads()(function)(items) == expected

    def test_callable_object(self) -> None:
        """A callable object keeps its state."""

        class Multiplier:
            def __init__(self, by: int) -> None:
                self.by = by

            def __call__(self, item: int) -> int:
                return item * self.by

        task = threads()(Multiplier(3))
        assert task([1, 2]) == [3, 6]
        assert task.__name__ == "Multiplier"


class Account:
    """A class with decorated methods."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    @parallel_task(n_jobs=2, backend="threading")
    def interest(self, amount: int, years: int = 1) -> int:
        """Return the interest on one amount."""
        return amount * self.rate * years

    @parallel_task(n_jobs=2, backend="threading", over="years")
    def grown(self, amount: int, years: int) -> int:
        return amount + years * self.rate

    @staticmethod
    @parallel_task(n_jobs=2, backend="threading")
    def double(item: int) -> int:
        return item * 2

    def plain(self, amount: int) -> int:
        return amount + self.rate


class TestMethods:
    """Methods can be decorated in the class, and bound ones anywhere."""

    def test_in_the_class(self) -> None:
        """A method decorated in the class body is bound to the object it is called on."""
        assert Account(3).interest([1, 2], years=2) == [6, 12]
        assert Account(3).interest.map([1, 2]) == [3, 6]
        assert Account(3).grown(100, [1, 2]) == [103, 106]
        assert Account.interest.__doc__ == "Return the interest on one amount."

    def test_bound(self) -> None:
        """A bound method takes its object along."""
        assert threads()(Account(3).plain)([1, 2]) == [4, 5]

    def test_static(self) -> None:
        """A static method is a plain function."""
        assert Account.double([1, 2]) == [2, 4]
        assert Account(1).double([1, 2]) == [2, 4]

    def test_binding_keeps_the_options(self) -> None:
        """A bound parallel task has the options of the class's."""
        assert Account(1).interest.options == Account.interest.options
        assert Account(1).interest.options.n_jobs == 2


class TestLooksLikeTheFunction:
    """The object shows what the function shows."""

    def test_names(self) -> None:
        """Name, module and docstring are the function's."""
        task = threads()(scale)
        assert (task.__name__, task.__qualname__, task.__module__) == ("scale", "scale", __name__)
        assert task.__doc__ == "Scale one item."
        assert repr(task) == "<parallel task scale(item: 'int', factor: 'int' = 2, *, offset: 'int' = 0)>"

    def test_signature(self) -> None:
        """The signature is the function's, without what workers fill in and without one item's return annotation."""

        def use(item: int, conn: object, size: int = 3) -> dict[str, int]:
            return {}

        task = threads(per_worker={"conn": dict})(use)
        assert list(inspect.signature(task).parameters) == ["item", "size"]
        assert "return" not in task.__annotations__
        assert inspect.signature(task).return_annotation is inspect.Signature.empty

    def test_partial_of_a_documented_function(self) -> None:
        """A partial goes by the name and the docstring of its function, not by those of ``functools.partial``."""
        task = threads()(functools.partial(scale, factor=3))
        assert task.__name__ == "scale"
        assert task.__doc__ == "Scale one item."


def resource() -> int:
    return 7


def with_resource(item: int, conn: int) -> int:
    return item * conn


def test_pickles() -> None:
    """A parallel task comes back from a pickle, or a copy, with its function and all options."""
    task: Any = threads(per_worker={"conn": resource}, retries=3, pool="cpu")(with_resource)
    for other in (pickle.loads(pickle.dumps(task)), copy.copy(task), copy.deepcopy(task)):
        assert other.function is with_resource
        assert (other.options, other.task_options) == (task.options, task.task_options)
        assert other([1, 2]) == [7, 14]


def fail(item: int) -> int:
    raise ValueError(item)


def labelled_by(lock: object) -> Any:
    """Return a task whose label, and one of whose callbacks, hold *lock*."""

    def label(item: int) -> str:
        return f"number {item}, {type(lock).__name__}"

    return threads(label=label, pool="cpu", on_failure_callback=lambda context: lock)(fail)


def test_copies_have_all_options() -> None:
    """A copy has the very label and options of the task, whether they can be pickled or not."""
    task = labelled_by(threading.Lock())
    for other in (copy.copy(task), copy.deepcopy(task)):
        assert (other.function, other.options) == (fail, task.options)
        assert other.task_options == task.task_options


@pytest.mark.parametrize("backend", PROCESSES)
def test_label_stays_behind(backend: str) -> None:
    """What of its options can't be pickled keeps no task from a worker that uses it; a label that can goes along."""
    locks = [threading.Lock(), "text"]
    tasks = [labelled_by(lock) for lock in locks]

    def noted(item: int) -> list[str]:
        try:
            tasks[item].map([item])
        except ValueError as error:
            return error.__notes__
        return []

    found = task(noted, backend=backend, **ONE_WORKER).map([0, 1])
    for item, (text,) in enumerate(found):
        kept = backend == "multiprocessing" or item == 1
        assert f"item 0 (number {item}, {type(locks[item]).__name__})" in text if kept else f"item 0 ({item})" in text


def test_label_that_holds_its_task() -> None:
    """A label, or a callback, may use the very task that it is an option of."""
    held: list[Any] = []
    held.append(threads(label=lambda item: f"{held[0].__name__} {item}", on_retry_callback=lambda _: held)(scale))
    other = pickle.loads(dumps(held[0]))
    assert other.options.label(7) == "scale 7"
    assert other.task_options.keys() == {"on_retry_callback"}
    assert other([1, 2]) == [2, 4]


def generator(item: int) -> Iterator[int]:
    yield item


@pytest.mark.parametrize("options", [None, {}, {"n_jobs": 2}], ids=["bare", "empty", "called"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (generator, "generator is a generator function"),
        (lambda: 1, "no parameter of its own that could take the item"),
        (Account, "decorates a function that handles one item, not the class Account"),
        (dict, "not the class dict"),
        (3, "not an object of type int"),
        (classmethod(lambda cls, item: item), "can't decorate a class method"),
        (parallel_task(scale), r"scale is a parallel task already\. Use \.override\(\.\.\.\) to change its options"),
    ],
    ids=named,
)
def test_cannot_be_decorated(options: dict[str, Any] | None, target: Any, message: str) -> None:
    """What is no plain function of one item is a TypeError when it is decorated, with or without parentheses."""
    with pytest.raises(TypeError, match=message):
        if options is None:
            parallel_task(target)
        else:
            parallel_task(**options)(target)


def test_options_are_keywords() -> None:
    """An option given by position is an error, not a function."""
    with pytest.raises(TypeError, match="not an object of type int"):
        parallel_task(4)  # type: ignore[call-overload]


def fake_task(name: str, function: Any = scale, **kwargs: Any) -> Any:
    """What ``@task`` and its kin return, as far as anyone outside Airflow can see."""
    operator = type("Operator", (), {"custom_operator_name": name})
    return SimpleNamespace(function=function, operator_class=operator, kwargs=kwargs)


def test_takes_a_task_over() -> None:
    """Above ``@task`` the decorator takes over the function and the options; its own options win."""
    task: Any = threads(pool="mine")(fake_task("@task", retries=2, pool="its"))
    assert task.function is scale
    assert task.task_options == {"retries": 2, "pool": "mine"}
    assert task([1]) == [2]


def test_refuses_other_task_types() -> None:
    """Above a decorator that runs its function elsewhere, the error says so."""
    with pytest.raises(TypeError, match=r"can't stand above @task\.docker, which runs its function elsewhere"):
        threads()(fake_task("@task.docker"))
    with pytest.raises(TypeError, match=r"scale is a parallel task already\. Drop one of the two"):
        threads()(fake_task("@task", parallel_task(scale)))


BAD_CALLS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("abc",), {}, "The items for 'item' can't be a str"),
    ((b"abc",), {}, "can't be a bytes"),
    ((None,), {}, r"The items for 'item' can't be None\. Did the task upstream return something\?"),
    (({"a": 1},), {}, "can't be a dict"),
    ((3,), {}, "can't be a int"),
    (([1],), {}, "missing a required.* argument: 'path'"),
    ((), {"path": 1}, "missing a required argument: 'item'"),
    (([1],), {"path": 1, "nothing": 2}, "unexpected keyword argument 'nothing'"),
    (([1], 1), {"path": 1}, "multiple values for argument 'path'"),
    (([1],), {"path": 1, "conn": 2}, "'conn' from two sources: the call and per_worker"),
]


@pytest.mark.parametrize("backend", ["multiprocessing", "threading"])
@pytest.mark.parametrize(("args", "kwargs", "message"), BAD_CALLS, ids=[case[2][:40] for case in BAD_CALLS])
def test_bad_calls(args: tuple[Any, ...], kwargs: dict[str, Any], message: str, backend: str, tmp_path: Path) -> None:
    """A bad call is a clear TypeError and nothing has run, no item and no resource."""
    ran = tmp_path / "ran"

    def function(item: int, path: object, conn: object = None) -> None:
        note(ran)

    def connect() -> None:
        note(ran)

    if args and args[0] != [1]:
        kwargs = {**kwargs, "path": 1}
    task: Any = parallel_task(n_jobs=2, backend=backend, per_worker={"conn": connect})(function)
    for call in (task, task.map):
        with pytest.raises(TypeError, match=message):
            call(*args, **kwargs)
    assert notes(ran) == []


@pytest.mark.parametrize(
    "options", [{"n_jobs": 0}, {"n_jobs": "many"}, {"backend": "lokky"}, {"retires": 3}, {"per_worker": {"x": dict}}]
)
def test_bad_options_at_override(options: dict[str, Any]) -> None:
    """A bad option raises where it is given, before anything is called."""
    with pytest.raises(InvalidOptionError):
        threads()(scale).override(**options)


def test_lazy_xcom_sequence_is_taken_at_once() -> None:
    """What a mapped task upstream returned is fetched in one request, not one for each item."""

    class LazyXComSequence:
        requests = 0

        def __getitem__(self, key: object) -> Any:
            self.requests += 1
            return [1, 2, 3][key]  # type: ignore[call-overload]

        def __len__(self) -> int:
            return 3

    items = LazyXComSequence()
    assert threads()(scale)(items) == [2, 4, 6]
    assert items.requests == 1
