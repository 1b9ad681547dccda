"""A DAG file's module in fresh workers: by its name, with what has travelled and what code may ask for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib.exceptions import NotPicklableError
from tests.unit.helpers import ONE_WORKER, run_python, task

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
from __future__ import annotations

import copy, dataclasses, functools, importlib, inspect, json, multiprocessing, pickle, sys, threading, typing
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

LOCK = threading.Lock()
LIMIT = 5
TABLE = {"a": 1}
THIS = sys.modules[__name__]
counter = [0]


@dataclass
class Base:
    id: int
    other: Other | None = None
    kinds: ClassVar[list[str]] = ["k"]
    tags: list[str] = field(default_factory=list)

    class Inner:
        def give(self):
            return LIMIT

    @staticmethod
    def still(n):
        return n

    def method(self):
        return self.id


class Other:
    size: Size


class Size: ...
class Derived(Base): ...
class Further(Derived): ...


class Colour(Enum):
    RED = 1


class Failed(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code


Point = namedtuple("Point", "x y")


def parse_csv(n):
    return f"csv{n}"


def parse_json(n):
    return f"json{n}"


def locked(n):
    with LOCK:
        return n


def square(n):
    counter[0] += 1
    return n * n


def told(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)
    return call


@told
def decorated(n):
    return n + 1


HANDLERS = {"csv": "parse_csv", "json": "parse_json"}


def by_globals(n):
    return [globals()[f"parse_{kind}"](n) for kind in ("csv", "json")]


def by_handlers(n):
    return [globals()[HANDLERS[kind]](n) for kind in sorted(HANDLERS)]


def by_module(n):
    return getattr(sys.modules[__name__], "parse_" + "csv")(n), importlib.import_module(__name__).LIMIT


def by_import(n):
    module = __import__(__name__)
    return module.TABLE, vars(module)["LIMIT"], hasattr(module, "no_such_name"), module.__name__ == __name__


def by_eval(n):
    return eval("square(n) + LIMIT"), eval("[square(each) for each in (1, 2)]", globals(), {})


def by_exec(n):
    found = {}
    exec("made = parse_json(4)", globals(), found)
    return found["made"]


def by_frame(n):
    return inspect.currentframe().f_globals["parse_" + "csv"](n)


def by_held_module(n):
    return THIS.square(n), THIS.LIMIT, THIS.Base is Base


def by_function_globals(n):
    return square.__globals__["LIMIT"], square.__globals__ is globals(), by_eval.__module__ == __name__


def hints(n):
    found = typing.get_type_hints(Base)
    return sorted(found), found["other"] == typing.Optional[Other], typing.get_type_hints(Other)["size"] is Size


def hints_of_function(n):
    def local(a: Base, b: list[Other]) -> Size: ...
    found = typing.get_type_hints(local)
    return found["a"] is Base, found["b"] == list[Other], found["return"] is Size


def class_var(n):
    @dataclass
    class Sub(Base):
        more: typing.ClassVar[int] = 1
        size: int = 2
    return [each.name for each in dataclasses.fields(Sub)]


def pickled(n):
    values = [Base(n), Point(n, 2), Colour.RED, Base, square, Base.Inner, Derived(n, tags=["t"]), Base.still, decorated]
    there = pickle.loads(pickle.dumps(values))
    return [there[0].id, there[1], there[2] is Colour.RED, there[3] is Base, there[4] is square, there[5] is Base.Inner,
            type(there[6]) is Derived, there[7] is Base.still, there[8] is decorated, there[6].tags]


def error_pickled(n):
    error = pickle.loads(pickle.dumps(ValueError("x", Base(n))))
    return type(error.args[1]) is Base, copy.deepcopy(Base(n)) == Base(n)


def unpickled(data):
    return pickle.loads(data).id


def pool(n):
    with ProcessPoolExecutor(1) as executor:
        return list(executor.map(parse_csv, [n])), executor.submit(Base(n).method).result()


def pool_of_multiprocessing(n):
    with multiprocessing.Pool(1) as workers:
        return workers.map(square, [n, n + 1]), workers.apply(Base, (n,)) == Base(n), multiprocessing.get_start_method()


def process(n):
    queue = multiprocessing.SimpleQueue()
    started = multiprocessing.Process(target=lambda: queue.put(Base(n)))
    started.start()
    started.join()
    return queue.get() == Base(n), started.exitcode


def subclasses(n):
    return [each.__name__ for each in Base.__subclasses__()], [each.__name__ for each in Derived.__subclasses__()]


def all_subclasses(n):
    def every(kind):
        return [name for each in kind.__subclasses__() for name in (each.__name__, *every(each))]
    return every(Base)


def inner(n):
    return Base.Inner().give(), inspect.getsource(square), inspect.getmodule(Base) is sys.modules[__name__]


def state(n):
    def later():
        return counter[0]
    before = counter[0]
    square(n)
    THIS.counter[0] += 1
    globals()["counter"][0] += 1
    return later() - before


def rebound(n):
    global LATER
    LATER = n
    return globals()["LATER"], THIS.LATER, eval("LATER")


def default(n, function=parse_json, values=TABLE):
    return function(n), values is TABLE


def with_lock(n):
    return THIS.LOCK, THIS.square(n)


def of_items(item):
    return [type(item) is Base, globals()["Base"] is type(item), pickle.loads(pickle.dumps(item)).id, item.method(),
            item.method.__globals__ is globals(), Base.still(3)]


def called(function):
    return function(3), function is globals()[function.__name__], function.__globals__ is globals()


def give(n):
    return [square, Base, Base.still, Base.method, decorated, lambda: LIMIT, Base(n), Colour.RED, THIS]
"""
FUNCTIONS = [
    *("by_globals", "by_handlers", "by_module", "by_import", "by_eval", "by_exec", "by_frame", "by_held_module"),
    *("by_function_globals", "hints", "hints_of_function", "class_var", "pickled", "error_pickled", "pool"),
    *("pool_of_multiprocessing", "process", "subclasses", "all_subclasses", "inner", "state", "rebound", "default"),
]
#: One of each kind: the others ask in a like way, and each takes a worker of its own, which has nothing of the rest.
BY_DAY = {
    "by_globals",
    "by_import",
    "by_eval",
    "by_frame",
    "by_held_module",
    "hints",
    "pickled",
    "process",
    "subclasses",
}
BY_DAY |= {"inner", "state"}


@pytest.fixture
def module(dag_file: Any) -> Any:
    """Load the DAG file."""
    return dag_file(SOURCE)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in BY_DAY else [pytest.mark.nightly]) for name in FUNCTIONS]
)
def test_like_a_plain_loop(name: str, module: Any) -> None:
    """What code finds by a name, whichever way it asks, is in a worker what it is in the task."""
    function = vars(module)[name]
    want = [function(1), function(2)]
    vars(module).pop("LATER", None)
    assert task(function, backend="loky", **ONE_WORKER).map([1, 2]) == want


def test_items(module: Any) -> None:
    """Classes and functions of items belong to the same module as those of the function."""
    work = task(module.of_items, backend="loky", batch_size=1)
    assert work.map([module.Base(1), module.Base(2)]) == [[True, True, n, n, True, 3] for n in (1, 2)]
    work = task(module.called, backend="loky", batch_size=1)
    assert work.map([module.square, module.parse_csv]) == [(9, True, True), ("csv3", True, True)]


def test_results(module: Any) -> None:
    """Functions, classes and the module itself come back as the task's own; what was made there, with its globals."""
    *named, made, base, red, this = task(module.give, backend="loky", **ONE_WORKER).map([1, 2])[1]
    own = [module.square, module.Base, module.Base.still, module.Base.method, module.decorated]
    assert all(a is b for a, b in zip(named, own, strict=True))
    assert (made(), made.__globals__ is vars(module)) == (5, True)
    assert (type(base), red, this) == (module.Base, module.Colour.RED, module)


def test_pickles_from_elsewhere(module: Any) -> None:
    """What has been pickled by the task, by the standard library, can be loaded by an item."""
    import pickle

    items = [pickle.dumps(module.Base(n)) for n in (1, 2)]
    assert task(module.unpickled, backend="loky", **ONE_WORKER).map(items) == [1, 2]


def test_module_of_which_a_part_cannot_travel(module: Any) -> None:
    """What a function names of its module must be able to travel, and is named if it can't."""
    with pytest.raises(NotPicklableError) as caught:
        task(module.with_lock, backend="loky", **ONE_WORKER).map([1, 2])
    (culprit,) = caught.value.culprits
    assert culprit.path == f"with_lock → module {module.__name__} → attribute 'LOCK'"


def test_task_is_not_changed(module: Any) -> None:
    """Checks and results leave the task's own module as it is."""
    before = {name: id(value) for name, value in vars(module).items()}
    task(module.give, backend="loky", **ONE_WORKER).map([1, 2])
    task(module.by_eval, backend="loky", **ONE_WORKER).map([1, 2])
    assert {name: id(value) for name, value in vars(module).items()} == before
    assert module.counter == [0]


SCRIPT = """
import pickle, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from airflow_joblib import parallel_task

@dataclass
class Base:
    id: int

def double(n):
    return 2 * n

@parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)
def work(n):
    with ProcessPoolExecutor(1) as pool:
        there = list(pool.map(double, [n]))
    return pickle.loads(pickle.dumps(Base(n))), globals()["double"](n), there, sys.modules["__main__"].double is double

if __name__ == "__main__":
    assert work([1, 2]) == [(Base(n), 2 * n, [2 * n], True) for n in (1, 2)]
"""


def test_script(tmp_path: Path) -> None:
    """The same holds in a script, whose module is ``__main__``."""
    import subprocess

    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    subprocess.run([sys.executable, "-W", "ignore", str(file)], check=True, timeout=200)


PARTS = {
    "own/__init__.py": "from own.tasks import FACTOR\n",
    "own/tasks.py": """
import pickle
FACTOR, UNUSED = 3, 4
class Base:
    id = 5
def work(n):
    import own.other, own.tasks
    from own import tasks
    return [own.other.total(n), own.tasks.work is work, tasks is own.tasks, type(pickle.loads(pickle.dumps(Base())))
            is Base, own.FACTOR]
""",
    "own/other.py": """
from own.tasks import UNUSED
import own.tasks
def total(n):
    return UNUSED + own.tasks.FACTOR + n
""",
}


def test_module_that_others_import(tmp_path: Path) -> None:
    """Where the function's module can be imported, others find all of it in a worker, beside what was sent."""
    for name, source in PARTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    code = """
from airflow_joblib import parallel_task
from own.tasks import work
want = [work(1), work(2)]
assert want[0] == [8, True, True, True, 3], want
got = parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)(work).map([1, 2])
assert got == want, got
"""
    run_python(code, {"PYTHONPATH": str(tmp_path)})
