"""Which modules travel by value, and for how long."""

from __future__ import annotations

import functools
import json
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from airflow_joblib.pickling import importable, modules_by_value, sent_by_value

if TYPE_CHECKING:
    from collections.abc import Callable

THIS = sys.modules[__name__]


class Handler:
    def handle(self, item: int) -> int:
        return item

    def __call__(self, item: int) -> int:
        return item


class Asked:
    """Records what it is asked for."""

    asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise AttributeError(name)

    def __call__(self, item: int) -> int:
        return item


def function(item: int) -> int:
    return item


@functools.wraps(json.dumps)
def wrapper(item: int) -> str:
    return json.dumps(item)


@pytest.mark.parametrize(
    "handled",
    [function, Handler().handle, Handler(), Handler, functools.partial(function, 1), functools.partial(Handler())],
    ids=["function", "method", "object", "class", "partial", "partial of an object"],
)
def test_own_module_of_whatever_is_called(handled: Callable[..., Any]) -> None:
    """The module of the user's code travels by value, however it is wrapped."""
    assert THIS in modules_by_value([handled])


def test_asks_the_users_object_for_nothing() -> None:
    """A callable object's own ``__getattr__`` is not run, nor a wrapper that wraps itself followed for ever."""
    assert THIS in modules_by_value([Asked()])
    assert Asked.asked == []
    vars(function)["__wrapped__"] = function
    assert THIS in modules_by_value([function])
    del vars(function)["__wrapped__"]


def test_wrapper_and_wrapped_both_count() -> None:
    """A decorated function's module is found under the decorator of another one."""
    assert modules_by_value([wrapper]) == []
    vars(wrapper)["__wrapped__"] = function
    assert modules_by_value([wrapper]) == [THIS]


def test_installed_code_goes_by_reference() -> None:
    """Python's own modules, builtins and installed distributions are never sent."""
    assert modules_by_value([json.dumps, len, cloudpickle.dumps, functools.partial(json.loads)]) == []


def test_every_loaded_dag_file_travels(dag_file: Any) -> None:
    """A DAG file is sent whatever refers to it, as its name means nothing elsewhere."""
    module = dag_file("x = 1")
    assert module in modules_by_value([len])


def test_a_module_of_unknown_origin_travels_only_where_it_is_the_functions_own(ghost: Any) -> None:
    """A module without a file, as of a notebook, is the user's."""
    module = ghost("def haunt(item):\n    return item\n")
    assert modules_by_value([module.haunt]) == [module]
    assert modules_by_value([len]) == []


def test_registers_for_the_block_only() -> None:
    """Overlapping blocks are counted: the module stays registered until the last one ends."""
    with sent_by_value([THIS]):
        with sent_by_value([THIS]):
            assert __name__ in cloudpickle.list_registry_pickle_by_value()
        assert __name__ in cloudpickle.list_registry_pickle_by_value()
    assert __name__ not in cloudpickle.list_registry_pickle_by_value()


def test_unregisters_after_an_error() -> None:
    """An error inside the block changes nothing about that."""
    with pytest.raises(ZeroDivisionError), sent_by_value([THIS]):
        1 / 0
    assert __name__ not in cloudpickle.list_registry_pickle_by_value()


def test_keeps_the_users_own_registration() -> None:
    """What the user has registered himself stays so."""
    cloudpickle.register_pickle_by_value(THIS)
    try:
        with sent_by_value([THIS]):
            pass
        assert __name__ in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(THIS)


def test_registers_from_many_threads() -> None:
    """Threads share the registration without losing count."""

    def enter() -> None:
        for _ in range(200):
            with sent_by_value([THIS]):
                assert __name__ in cloudpickle.list_registry_pickle_by_value()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert __name__ not in cloudpickle.list_registry_pickle_by_value()


@pytest.mark.parametrize("name", ["json", "json.decoder", "os.path", "sys", "_thread", "airflow_joblib.exceptions"])
def test_importable(name: str) -> None:
    """What the finders find, another process finds too."""
    assert importable(name)


def test_not_importable(ghost: Any) -> None:
    """A module that is in ``sys.modules`` alone is not there for anybody else."""
    ghost("x = 1")
    sys.modules["ghost.child"] = types.ModuleType("ghost.child")
    try:
        assert not importable("ghost")
        assert not importable("ghost.child")
        assert not importable("json.no_such_module")
    finally:
        del sys.modules["ghost.child"]
