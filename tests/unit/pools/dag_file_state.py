"""More functions of a DAG file: what its top level does to other modules and to the process, and what items may use.

Right is what a plain loop gives. It can stand alone, or below :file:`dag_file.py` as one DAG file.
"""

import asyncio
import builtins
import codecs
import contextvars
import copyreg
import decimal
import enum
import functools
import gc
import importlib.abc
import importlib.machinery
import inspect
import locale
import logging
import mimetypes
import multiprocessing
import os
import pickle
import random
import resource
import sqlite3
import string
import subprocess
import sys
import time
import types
import typing
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

decimal.getcontext().rounding = decimal.ROUND_UP
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
locale.setlocale(locale.LC_TIME, "C")
gc.set_threshold(701, 11, 12)
sys.setswitchinterval(0.0071)
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
builtins.of_the_dag_file = 8  # type: ignore[attr-defined]
logging.addLevelName(27, "NOTICE")
mimetypes.add_type("text/of-the-dag-file", ".odf")
string.Template.delimiter = "%"
np.set_printoptions(precision=3)
np.seterr(divide="raise")
pd.set_option("display.max_rows", 7)
TENANT = contextvars.ContextVar("tenant", default="nobody")
TENANT.set("acme")
HASH = hash("text")
LETTERS = set("the dag file")
ORDER = list(LETTERS)
LIMIT = 2
SEEDED = random.Random(7)
FRAME = pd.DataFrame({"a": [1, 2, 3]})
FRAME.attrs["from"] = "the DAG file"


class Key: ...


KEY = Key()
BY_IDENTITY = {id(KEY): "found"}
WEAK = weakref.WeakKeyDictionary({KEY: "kept"})
REFERENCE = weakref.ref(KEY)
Made = type("Other", (), {"value": 4})
MADE = Made()

settings = types.ModuleType("settings_of_the_dag_file")
settings.RATE = 100  # type: ignore[attr-defined]
settings.render = functools.singledispatch(lambda value: "any")  # type: ignore[attr-defined]
settings.render.register(int, lambda value: "int of the DAG file")
sys.modules[settings.__name__] = settings


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


copyreg.pickle(Money, lambda money: (Money, (money.cents + 1,)))
sqlite3.register_adapter(Money, lambda money: money.cents)
codecs.register(lambda name: codecs.lookup("utf-16-be") if name == "of_the_dag_file" else None)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == "made_up_by_the_dag_file" else None

    def exec_module(self, module: types.ModuleType) -> None:
        module.value = 12  # type: ignore[attr-defined]


sys.meta_path.append(Finder())


@pd.api.extensions.register_dataframe_accessor("of_the_dag_file")
class Accessor:
    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def total(self) -> int:
        return int(self.frame["a"].sum())


HANDLERS: dict[str, typing.Any] = {}


Function = typing.TypeVar("Function", bound=typing.Callable[..., object])


def handles(name: str) -> typing.Callable[[Function], Function]:
    def add(function: Function) -> Function:
        HANDLERS[name] = function
        return function

    return add


@handles("add")
def added(x: int) -> int:
    return x + 1


def scaled(x: int, by: int = 2) -> int:
    return x * by


def replaced(x: int) -> int:
    return x


scaled.__defaults__ = (5,)
replaced.__code__ = added.__code__
RATE = 1


def rate(n: int) -> object:
    return RATE * n


RATE = 2


def __getattr__(name: str) -> object:
    if name == "lazily":
        return "made when asked for"
    raise AttributeError(name)


class Named:
    found: typing.ClassVar[list[str]] = []

    def __set_name__(self, owner: type, name: str) -> None:
        Named.found.append(f"{owner.__name__}.{name}")


class Model:
    id = Named()
    text = Named()


class Single:
    _only: "typing.ClassVar[Single | None]" = None

    def __new__(cls) -> typing.Any:
        cls._only = cls._only or super().__new__(cls)
        return cls._only


SINGLE = Single()


class Outer:
    class Inner:  # noqa: D106
        value = 3


class Colour(enum.StrEnum):
    RED = "r"
    BLUE = "b"

    @classmethod
    def _missing_(cls, value: object) -> "Colour":
        return cls.BLUE


class Steps(enum.Enum):
    @enum.member
    @staticmethod
    def up() -> int:
        return 1

    LIMIT = enum.nonmember(9)


T = typing.TypeVar("T")


class Box(typing.Generic[T]): ...


class Row(typing.TypedDict, total=False):
    id: int
    text: "str"


@typing.runtime_checkable
class Sized(typing.Protocol):
    cents: int


class OwnError(Exception):
    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(code)
        self.where = where


def here() -> typing.Any:
    """Return this module: what is asked of it at runtime the check up front doesn't see, and would refuse in part."""
    return sys.modules[__name__]


def made_module(n: int) -> object:
    return here().settings.RATE * n, here().settings is sys.modules["settings_of_the_dag_file"]


def dispatched(n: int) -> object:
    return here().settings.render(n)


def context_variable(n: int) -> object:
    return here().TENANT.get()


def time_zone(n: int) -> object:
    return time.localtime(0).tm_hour, time.tzname, time.strftime("%Z", time.localtime(n))


def locale_of_times(n: int) -> object:
    return locale.setlocale(locale.LC_TIME), locale.getlocale(locale.LC_CTYPE)


def rounding(n: int) -> object:
    return str(round(decimal.Decimal("1.21"), 1) / 3)[:6], decimal.getcontext().rounding


def collector(n: int) -> object:
    return gc.get_threshold(), gc.isenabled(), sys.getswitchinterval()


def limits(n: int) -> object:
    return resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)


def builtin(n: int) -> object:
    return of_the_dag_file  # type: ignore[name-defined] # noqa: F821


def level_name(n: int) -> object:
    return logging.getLevelName(27)


def mime_type(n: int) -> object:
    return mimetypes.guess_type("x.odf")


def delimiter(n: int) -> object:
    return string.Template.delimiter


def print_options(n: int) -> object:
    return str(np.array([1 / 3])), pd.get_option("display.max_rows")


def numpy_errors(n: int) -> object:
    try:
        return str(np.ones(1) / 0)
    except FloatingPointError as error:
        return str(error)


def numpy_generator(n: int) -> object:
    return int(np.random.default_rng([7, n]).integers(1000))


def seeded(n: int) -> object:
    return hash(SEEDED.getstate()), random.Random(n).random()


def hashes(n: int) -> object:
    return hash("text") == HASH, list(LETTERS) == ORDER


def query(n: int) -> object:
    return FRAME.query("a > @LIMIT")["a"].tolist()


def accessor(n: int) -> object:
    return FRAME.of_the_dag_file.total(), FRAME.attrs


def identity(n: int) -> object:
    return BY_IDENTITY[id(KEY)], here().WEAK[KEY], here().REFERENCE() is KEY


def made_class(n: int) -> object:
    return type(MADE) is Made, Made.__name__, MADE.value


def copyreg_pickle(n: int) -> object:
    return pickle.loads(pickle.dumps(Money(n))).cents


def adapted(n: int) -> object:
    return sqlite3.connect(":memory:").execute("SELECT ?", (Money(n),)).fetchone()


def codec(n: int) -> object:
    return str(n).encode("of-the-dag-file")


def found_by_a_finder(n: int) -> object:
    import made_up_by_the_dag_file  # type: ignore[import-not-found]

    return made_up_by_the_dag_file.value


def handler(n: int) -> object:
    return HANDLERS["add"] is added, HANDLERS["add"](n)


def changed_function(n: int) -> object:
    return scaled(n), replaced(n), inspect.signature(scaled).parameters["by"].default


def attribute_of_the_module(n: int) -> object:
    return sys.modules[__name__].lazily


def set_name(n: int) -> object:
    return Named.found, type(Model.id) is Named


def single(n: int) -> object:
    return Single() is SINGLE


def inner_class(n: int) -> object:
    return pickle.loads(pickle.dumps(Outer.Inner())).value, Outer.Inner.__qualname__


def missing_member(n: int) -> object:
    return Colour("no such") is Colour.BLUE, pickle.loads(pickle.dumps(Colour.RED)) is Colour.RED


def special_members(n: int) -> object:
    return list(Steps.__members__), Steps.LIMIT


def generic(n: int) -> object:
    return typing.get_args(Box[int]), typing.get_origin(Box[int]) is Box


def typed_dict(n: int) -> object:
    return str(typing.get_type_hints(Row)), Row.__total__


def protocol(n: int) -> object:
    return isinstance(Money(n), Sized), isinstance(n, Sized)


def own_exception(n: int) -> object:
    found: list[object] = []
    try:
        raise ExceptionGroup("several", [OwnError(n, where="here"), ValueError(n)])
    except* OwnError as group:
        found = [error.where for error in group.exceptions if isinstance(error, OwnError)]
    except* ValueError:
        found.append("another")
    return found


def inspected(n: int) -> object:
    module = inspect.getmodule(scaled)
    return module is sys.modules[__name__], inspect.getsource(Money).count("cents")


def search_path(n: int) -> object:
    return sys.path, sys.argv, str(Path.cwd()), len(sys.path_hooks)


def daemonic(n: int) -> object:
    return multiprocessing.current_process().daemon


def event_loop(n: int) -> object:
    async def later() -> tuple[int, str]:
        await asyncio.sleep(0)
        return n, here().TENANT.get()

    return asyncio.run(later())


def threads(n: int) -> object:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(added, [n, n + 1]))


def forked_pool(n: int) -> object:
    # Not left by `with`, which ends its processes by SIGTERM: on a busy machine one that has yet to begin loses that to
    # the handler that Airflow has in the task, and is waited for for ever, in a plain task too.
    pool = multiprocessing.get_context("fork").Pool(2)
    try:
        return pool.map(scaled, [n, n + 1])
    finally:
        pool.close()
        pool.join()


def joblib_inside(n: int) -> object:
    # Threads, since processes of joblib's stay behind in a plain task.
    return joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(abs)(-x) for x in range(n))


def subprocess_of_an_item(n: int) -> object:
    code = "import time; print(time.localtime(0).tm_hour)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


ALL = [
    value
    for value in list(globals().values())
    if type(value) is type(added)
    and value.__module__ == __name__
    and value.__code__.co_varnames[:1] == ("n",)
    and value.__name__ not in {"double", "wrapped", "call"}
]
