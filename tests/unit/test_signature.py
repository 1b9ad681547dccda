"""How a call is bound: every parameter gets one value from one source, whatever its kind and place."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import operator
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_joblib import InvalidOptionError, parallel_task
from airflow_joblib.signature import ItemSignature
from airflow_joblib.wire.call import Call, function_name
from tests.unit.helpers import named as name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def plain(item: Any, a: Any = "a", b: Any = "b") -> Any:
    return item, a, b


def keyword_only(item: Any, *, a: Any, b: Any = "b") -> Any:
    return item, a, b


def item_keyword_only(*, item: Any, a: Any = "a") -> Any:
    return item, a


def positional_only(item: Any, a: Any = "a", /, b: Any = "b") -> Any:
    return item, a, b


def item_behind_positional_only(a: Any, item: Any, /, b: Any = "b") -> Any:
    return item, a, b


def starred(item: Any, *args: Any) -> Any:
    return item, *args


def starred_later(item: Any, a: Any, *args: Any, b: Any = "b") -> Any:
    return item, a, *args, b


def double_starred(item: Any, **kwargs: Any) -> Any:
    return item, kwargs


def everything(p: Any, /, item: Any, a: Any = "a", *args: Any, k: Any = "k", **kwargs: Any) -> Any:
    return p, item, a, args, k, kwargs


def namesake(item: Any, /, **kwargs: Any) -> Any:
    return item, kwargs


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def method(self, item: Any, a: Any = 0) -> Any:
        return item, self.by, a

    @classmethod
    def of_class(cls, item: Any, a: Any = 0) -> Any:
        return item, cls.__name__, a

    @staticmethod
    def static(item: Any, a: Any = 0) -> Any:
        return item, a

    def __call__(self, item: Any, a: Any = 0) -> Any:
        return item, self.by, a


def run(function: Callable[..., Any], *args: Any, over: str | None = None, **kwargs: Any) -> list[Any]:
    """Bind a call, and run it on every item."""
    items, call = ItemSignature(function, over, {}).bind(args, kwargs)
    of_item = call.of_item({})
    return [of_item(item) for item in items]


FORMS: list[tuple[Callable[..., Any], str | None, tuple[Any, ...], dict[str, Any], Any]] = [
    (plain, None, ([1],), {}, (1, "a", "b")),
    (plain, None, ([1], 2), {}, (1, 2, "b")),
    (plain, None, ([1], 2, 3), {}, (1, 2, 3)),
    (plain, None, ([1],), {"b": 3}, (1, "a", 3)),
    (plain, None, (), {"item": [1], "b": 3}, (1, "a", 3)),
    (plain, "a", (1, [2]), {}, (1, 2, "b")),
    (plain, "a", (1,), {"a": [2], "b": 3}, (1, 2, 3)),
    (plain, "a", (), {"item": 1, "a": [2]}, (1, 2, "b")),
    (plain, "b", (1,), {"b": [3]}, (1, "a", 3)),
    (keyword_only, None, ([1],), {"a": 2}, (1, 2, "b")),
    (keyword_only, "a", (1,), {"a": [2]}, (1, 2, "b")),
    (item_keyword_only, None, (), {"item": [1]}, (1, "a")),
    (item_keyword_only, None, (), {"item": [1], "a": 2}, (1, 2)),
    (positional_only, None, ([1],), {}, (1, "a", "b")),
    (positional_only, None, ([1], 2, 3), {}, (1, 2, 3)),
    (positional_only, None, ([1], 2), {"b": 3}, (1, 2, 3)),
    (positional_only, "a", (1, [2]), {"b": 3}, (1, 2, 3)),
    (positional_only, "b", (1,), {"b": [3]}, (1, "a", 3)),
    (item_behind_positional_only, "item", (2, [1]), {}, (1, 2, "b")),
    (item_behind_positional_only, None, ([2], 1), {}, (1, 2, "b")),
    (starred, None, ([1],), {}, (1,)),
    (starred, None, ([1], 2, 3), {}, (1, 2, 3)),
    (starred_later, None, ([1], 2, 3, 4), {"b": 5}, (1, 2, 3, 4, 5)),
    (starred_later, None, ([1], 2), {}, (1, 2, "b")),
    (starred_later, "a", (1, [2], 3), {}, (1, 2, 3, "b")),
    (starred_later, "b", (1, 2, 3), {"b": [4]}, (1, 2, 3, 4)),
    (double_starred, None, ([1],), {"x": 2, "y": 3}, (1, {"x": 2, "y": 3})),
    (everything, "item", (1, [2]), {}, (1, 2, "a", (), "k", {})),
    (everything, "item", (1, [2], 3, 4), {"k": 5, "z": 6}, (1, 2, 3, (4,), 5, {"z": 6})),
    (everything, None, ([1], 2, 3, 4), {"z": 6}, (1, 2, 3, (4,), "k", {"z": 6})),
    (everything, "k", (1, 2, 3, 4), {"k": [5], "z": 6}, (1, 2, 3, (4,), 5, {"z": 6})),
    (namesake, None, ([1],), {"item": 2}, (1, {"item": 2})),
    (Adder(5).method, None, ([1],), {}, (1, 5, 0)),
    (Adder(5).method, None, ([1], 2), {}, (1, 5, 2)),
    (Adder(5).method, None, (), {"item": [1], "a": 2}, (1, 5, 2)),
    (Adder(5).method, "a", (1, [2]), {}, (1, 5, 2)),
    (Adder.of_class, None, ([1],), {"a": 2}, (1, "Adder", 2)),
    (Adder.static, None, ([1],), {"a": 2}, (1, 2)),
    (Adder(5), None, ([1],), {"a": 2}, (1, 5, 2)),
    (functools.partial(plain, b=3), None, ([1],), {"a": 2}, (1, 2, 3)),
    (functools.partial(plain, a=3), None, ([1],), {}, (1, 3, "b")),
    (functools.partial(plain, 1), None, ([2],), {}, (1, 2, "b")),
    (functools.partial(plain, 1, b=3), None, ([2],), {}, (1, 2, 3)),
    (functools.partial(Adder(5).method, a=2), None, ([1],), {}, (1, 5, 2)),
    (lambda item, factor=2: item * factor, None, ([3],), {"factor": 3}, 9),
    (math.sqrt, None, ([4],), {}, 2.0),
    (operator.mul, None, ([4], 3), {}, 12),
    (operator.mul, "b", (4, [3]), {}, 12),
    (str.upper, None, (["x"],), {}, "X"),
]


@pytest.mark.parametrize(
    ("function", "over", "args", "kwargs", "expected"), FORMS, ids=[f"{n}-{name_of(f[0])}" for n, f in enumerate(FORMS)]
)
def test_forms(
    function: Callable[..., Any], over: str | None, args: tuple[Any, ...], kwargs: dict[str, Any], expected: Any
) -> None:
    """Whatever the kind of the function and of its parameters, each gets the value that the call gave it."""
    assert run(function, *args, over=over, **kwargs) == [expected]


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans(), st.data())
def test_any_signature(
    positional: int, ordinary: int, named: int, star: bool, double: bool, data: st.DataObject
) -> None:
    """For any signature, and any split into positional and keyword, an item's call equals the plain call."""
    kinds = (
        [(f"p{n}", inspect.Parameter.POSITIONAL_ONLY) for n in range(positional)]
        + [(f"o{n}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in range(ordinary)]
        + [("args", inspect.Parameter.VAR_POSITIONAL)] * star
        + [(f"k{n}", inspect.Parameter.KEYWORD_ONLY) for n in range(named)]
        + [("kwargs", inspect.Parameter.VAR_KEYWORD)] * double
    )
    own = [name for name, kind in kinds if name not in {"args", "kwargs"}]
    if not own:
        return
    text = ", ".join(
        [f"p{n}" for n in range(positional)] + ["/"] * bool(positional) + [f"o{n}" for n in range(ordinary)]
    )
    text += ", *args" if star else ", *" if named else ""
    text += "".join(f", k{n}" for n in range(named)) + (", **kwargs" if double else "")
    namespace: dict[str, Any] = {}
    exec(f"def function({text.removeprefix(', ')}): return dict(locals())", namespace)
    by_keyword = data.draw(st.integers(0, ordinary), label="ordinary parameters given by keyword")
    extra = star and not by_keyword and data.draw(st.booleans(), label="extra positional")
    over = data.draw(st.sampled_from(own), label="over")
    names = [name for name in own if not name.startswith("k")]
    cut = len(names) - by_keyword
    args = [*names[:cut], *(["x1", "x2"] if extra else [])]
    kwargs = {name: name for name in [*names[cut:], *own[len(names) :]]} | ({"more": "more"} if double else {})
    expected = namespace["function"](*args, **kwargs)
    # The same call, with a list of one for the parameter that takes the item.
    listed_args: list[Any] = [[arg] if arg == over else arg for arg in args]
    listed_kwargs: dict[str, Any] = {name: [name] if name == over else name for name in kwargs}
    assert run(namespace["function"], *listed_args, over=over, **listed_kwargs) == [expected]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        (keyword_only, ([1],), {}, r"keyword_only\(\) missing a required.* argument: 'a'\. It takes \(item"),
        (plain, (), {}, r"plain\(\) missing a required argument: 'item'\. It takes .*, the items for 'item'\."),
        (plain, (), {"a": 1}, r"plain\(\) missing a required argument: 'item'"),
        (plain, ([1],), {"c": 1}, r"plain\(\) got an unexpected keyword argument 'c'"),
        (plain, ([1], 2, 3, 4), {}, r"plain\(\) too many positional arguments"),
        (plain, ([1], 2), {"a": 3}, r"plain\(\) multiple values for argument 'a'"),
        (plain, ([1],), {"item": [2]}, r"plain\(\) multiple values for argument 'item'"),
        (positional_only, (), {"item": [1]}, r"positional_only\(\) .*'item'"),
        (math.sqrt, ([1], 2), {}, r"sqrt\(\) too many positional arguments"),
        (functools.partial(plain, 1), ([2], 3, 4), {}, r"plain\(\) too many positional arguments"),
    ],
)
def test_bad_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    """A missing, unknown or doubled argument is a TypeError that shows what the call takes."""
    with pytest.raises(TypeError, match=message):
        ItemSignature(function, None, {}).bind(args, kwargs)


def with_default(item: int = 3, a: int = 2) -> tuple[int, int]:
    return item, a


def test_missing_items_though_the_item_has_a_default() -> None:
    """The items must be given, even where the parameter that takes one has a default."""
    with pytest.raises(TypeError, match=r"with_default\(\) missing a required argument: 'item'"):
        ItemSignature(with_default, None, {}).bind((), {"a": 3})
    assert run(with_default, [1]) == [(1, 2)]


def test_two_sources() -> None:
    """An argument that a worker's resource fills in can't be given by the call too."""
    signature = ItemSignature(plain, None, {"a": dict})
    with pytest.raises(TypeError, match=r"plain\(\) got 'a' from two sources: the call and per_worker\. Keep one\."):
        signature.bind(([1],), {"a": 3})
    with pytest.raises(TypeError, match=r"too many positional arguments"):
        signature.bind(([1], 2, 3), {})


class AsyncCallable:
    async def __call__(self, item: int) -> int:
        return item


class GeneratingCallable:
    def __call__(self, item: int) -> Iterator[int]:
        yield item


async def coroutine(item: int) -> int:
    return item


async def async_generator(item: int) -> AsyncIterator[int]:
    yield item


def generator(item: int) -> Iterator[int]:
    yield item


class Asynchronous:
    async def method(self, item: int) -> int:
        return item


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        functools.partial(coroutine),
        AsyncCallable(),
        functools.partial(AsyncCallable()),
        Asynchronous().method,
    ],
    ids=name_of,
)
def test_asynchronous(function: Any) -> None:
    """Whatever is called to be awaited is known for asynchronous; a plain function isn't."""
    assert ItemSignature(function, None, {}).asynchronous
    assert not ItemSignature(plain, None, {}).asynchronous


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (async_generator, r"async_generator is a generator function"),
        (generator, r"generator is a generator function"),
        (functools.partial(generator), r"generator is a generator function"),
        (GeneratingCallable(), r"GeneratingCallable is a generator function"),
        (lambda: 1, r"has no parameter of its own that could take the item"),
        (functools.partial(plain, 1, 2, 3), r"plain.* has no parameter of its own"),
        (lambda *args: args, r"has no parameter of its own"),
        (lambda **kwargs: kwargs, r"has no parameter of its own"),
        (max, r"max has no signature that Python can read"),
    ],
)
def test_not_a_function_of_one_item(function: Callable[..., Any], message: str) -> None:
    """A function that runs nothing when called, or takes no item, is refused when it is decorated."""
    with pytest.raises(TypeError, match=message):
        ItemSignature(function, None, {})


@pytest.mark.parametrize("over", ["args", "kwargs"])
def test_over_a_starred_parameter(over: str) -> None:
    """``over`` must name a parameter that takes one value."""
    with pytest.raises(TypeError, match="has no parameter of its own that could take the item"):
        ItemSignature(everything, over, {})


def test_resource_no_parameter_by_name() -> None:
    """A resource is passed by name, so a parameter that can't be named can't take one."""
    with pytest.raises(InvalidOptionError, match=r"per_worker\['a'\] is no parameter that positional_only"):
        ItemSignature(positional_only, None, {"a": dict})
    with pytest.raises(InvalidOptionError, match=r"per_worker\['args'\] is no parameter"):
        ItemSignature(starred, None, {"args": dict})


def resource_before_starred(item: Any, resource: Any, *args: Any) -> Any:
    return item, resource, args


def test_resource_before_a_starred_parameter() -> None:
    """A resource in front of ``*args``, whose place the arguments would take, must become keyword-only."""
    with pytest.raises(InvalidOptionError, match=r"per_worker\['resource'\] stands before the starred .* keyword-only"):
        ItemSignature(resource_before_starred, None, {"resource": dict})
    items, call = ItemSignature(starred_later, None, {"b": dict}).bind(([1], 2, 3), {})
    assert call.of_item({"b": "r"})(items[0]) == (1, 2, 3, "r")


def resource_first(resource: Any, item: Any, a: Any = "a") -> Any:
    return resource, item, a


@pytest.mark.parametrize("args", [([1],), ([1], 2)])
def test_resource_first(args: tuple[Any, ...]) -> None:
    """A resource may stand anywhere: the call's positional arguments skip it."""
    items, call = ItemSignature(resource_first, "item", {"resource": dict}).bind(args, {})
    assert call.of_item({"resource": "r"})(items[0]) == ("r", 1, args[1] if len(args) > 1 else "a")


def test_factory_asks_for_shared_arguments() -> None:
    """A resource's function gets the shared arguments that it names: given, or the function's own defaults."""

    def function(item: int, url: str, size: int = 5, *, conn: object = None) -> int:
        return item

    def connect(url: str, size: int, timeout: int = 7) -> tuple[str, int, int]:
        return url, size, timeout

    _, call = ItemSignature(function, None, {"conn": connect}).bind(([1], "there"), {})
    assert call.factory_arguments(connect) == {"url": "there", "size": 5}
    assert call.arguments() == {"url": "there"}
    assert call.factory_arguments(dict) == {}


def test_arguments_by_name() -> None:
    """Shared arguments have names under which messages speak of them, positional ones too."""
    _, call = ItemSignature(everything, "item", {}).bind((1, [2], 3, 4), {"k": 5, "z": 6})
    assert call.arguments()["p"] == 1
    assert call.arguments()["a"] == 3
    assert call.arguments()["*args[0]"] == 4
    assert {"k": 5, "z": 6}.items() <= call.arguments().items()


def test_no_shared_argument_is_lost_for_its_name() -> None:
    """Two positional arguments of one name are both among those that get checked."""
    _, call = ItemSignature(starred, None, {}).bind(([1], 2, 3), {})
    assert set(call.arguments().values()) == {2, 3}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, "plain"),
        (functools.partial(functools.partial(plain, 1), 2), "plain"),
        (Adder(1).method, "method"),
        (Adder(1), "Adder"),
        (math.sqrt, "sqrt"),
        (lambda item: item, "<lambda>"),
    ],
)
def test_function_name(function: Callable[..., Any], name: str) -> None:
    """Everything callable has a name for messages."""
    assert function_name(function) == name


def test_nothing_but_the_item_adds_no_call() -> None:
    """Where the item is all there is to pass, an item costs no call of ours in between."""
    of_item = Call(plain).of_item({})
    assert of_item(1) == (1, "a", "b")
    assert of_item is plain


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[int]:
    """An asynchronous resource."""
    yield 1


async def drawn() -> AsyncIterator[int]:
    """No context manager at all."""
    yield 1


class Session:
    """A resource that only ``async with`` enters."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return


def session() -> Any:
    """Make one, and not say so."""
    return Session()


def annotated() -> object:
    """Make one, and say so."""
    return Session()


annotated.__annotations__["return"] = Session


@pytest.mark.parametrize(
    "factory",
    [opened, functools.partial(opened), Session, annotated, drawn],
    ids=lambda factory: type(factory).__name__,
)
def test_asynchronous_resource(factory: Any) -> None:
    """A resource that a plain function can't enter is refused when the function is decorated."""
    with pytest.raises(InvalidOptionError, match=r"per_worker\['c'\] .*contextmanager"):
        parallel_task(per_worker={"c": factory})(lambda item, c: (item, c))


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_asynchronous_resource_made(backend: str) -> None:
    """One that shows only when it is made ends the run before the first item."""
    task: Any = parallel_task(n_jobs=2, backend=backend, per_worker={"c": session})(lambda item, c: (item, c))
    with pytest.raises(TypeError, match="asynchronous context manager") as caught:
        task.map([1, 2, 3])
    assert "'c'" in caught.value.__notes__[0]
