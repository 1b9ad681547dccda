"""What travels to workers that have nothing of the user's: tried in a process that can't see it."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from airflow_joblib import parallel_task
from airflow_joblib.exceptions import NotPicklableError
from airflow_joblib.pickling import check_function, dependencies, dumps, modules_by_value, sent_by_value
from airflow_joblib.pickling.own_modules.bytecode import imports_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

RUN = """
import pickle, sys
function, items = pickle.load(sys.stdin.buffer)
before = set(sys.modules)
results = [function(item) for item in items]
from airflow_joblib.pickling.pickler import dumps
sys.stdout.buffer.write(dumps((results, sorted(set(sys.modules) - before))))
"""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write modules of a DAG bundle, put it on the path, and import the first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(main: str, more: Mapping[str, str] = MappingProxyType({}), **sources: str) -> Any:
        for name, source in {"main": main, **more, **sources}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        return importlib.import_module("main")

    yield write
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"main", "helpers", "package"}:
            del sys.modules[name]


def elsewhere(function: Callable[[Any], Any], *items: object) -> list[Any]:
    """Run a function in a process that has the installed packages alone."""
    with sent_by_value(modules_by_value([function])), dependencies():
        data = dumps((function, items), verify=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", RUN], input=data, capture_output=True, env=clean, cwd="/", check=False)
    assert done.returncode == 0, done.stderr.decode()
    results: list[Any]
    results, imported = pickle.loads(done.stdout)
    assert not [name for name in imported if name.startswith(("helpers", "package", "main"))]
    return results


IN_WAYS = {
    "from": "from helpers import double\ndef work(item): return double(item)",
    "module": "import helpers\ndef work(item): return helpers.double(item)",
    "alias": "import helpers as h\ndef work(item): return h.double(item)",
    "inside": "def work(item):\n    import helpers\n    return helpers.double(item)",
    "from inside": "def work(item):\n    from helpers import double as d\n    return d(item)",
    "inside a function inside": """
        def work(item):
            def inner(x):
                import helpers
                return helpers.double(x)
            return inner(item)
        """,
    "handed on": "import helpers\ndef call(m, x): return m.double(x)\ndef work(item): return call(helpers, item)",
    "by a name": "import helpers\ndef work(item): return getattr(helpers, 'dou' + 'ble')(item)",
    "in a dict": "import helpers\nTABLE = {'h': helpers}\ndef work(item): return TABLE['h'].double(item)",
    "in a class": """
        class Work:
            def __call__(self, item):
                import helpers
                return helpers.double(item)
        work = Work()
        """,
    "cached": "import functools, helpers\n@functools.cache\ndef work(item): return helpers.double(item)",
    "in a closure": "import helpers\ndef make(m):\n    return lambda item: m.double(item)\nwork = make(helpers)",
}


@pytest.mark.parametrize("source", IN_WAYS.values(), ids=IN_WAYS)
def test_a_module_however_it_is_used(source: str, bundle: Any) -> None:
    """A module beside the DAG file travels in whatever way the function uses it."""
    helpers = "FACTOR = 2\nimport threading\nLOCK = threading.Lock()\ndef double(item): return item * FACTOR\n"
    module = bundle(main=source, helpers=helpers)
    assert elsewhere(module.work, 1, 2) == [2, 4]


ASKS = {
    "globals": "return globals()['dou' + 'ble'](item)",
    "eval": "return eval('double(item)')",
    "a text": "return run('double(item)', item)",
    "a frame": "return sys._getframe().f_globals['dou' + 'ble'](item)",
    "hints": "return item * 2 if typing.get_type_hints(hinted)['a'] is Hint else None",
}


@pytest.mark.parametrize("body", ASKS.values(), ids=ASKS)
def test_names_that_code_makes_up(body: str, bundle: Any) -> None:
    """What the function may ask its module for goes along, if it can and needs nothing else to be installed."""
    module = bundle(
        main=f"""
            import sys, threading, typing, pandas, helpers
            from helpers import run
            LOCK = threading.Lock()
            class Hint: ...
            def hinted(a: "Hint"): ...
            def double(n): return helpers.FACTOR * n
            def locked(n): return LOCK
            def framed(n): return pandas.DataFrame([n])
            def work(item): {body}
            """,
        helpers="FACTOR = 2\ndef run(text, item):\n    return eval(text, sys_globals(), {'item': item})\n"
        "def sys_globals():\n    import sys\n    return sys._getframe(2).f_globals\n",
    )
    assert elsewhere(module.work, 1, 2) == [2, 4]
    with dependencies() as found:
        dumps(module.work)
    assert not found.needed


PACKAGE = {
    "package/__init__": "NAME = 'package'\n",
    "package/one": "from . import two\nfrom .two import add\nBASE = 1\ndef one(item): return add(item) + two.add(0)\n",
    "package/two": """
        def add(item):
            from . import NAME, one       # a circle, and a name of the package
            from .deep.three import three
            assert NAME == "package"
            return item + one.BASE + three()
        """,
    "package/deep/__init__": "",
    "package/deep/three": "def three():\n    from ..two import add\n    return 3 if add else 0\n",
}


@pytest.mark.parametrize(
    "source",
    [
        "from package.one import one\ndef work(item): return one(item)",
        "import package.one\ndef work(item): return package.one.one(item)",
        "import package.one as p\ndef work(item): return p.one(item)",
        "from package import one as p\ndef work(item): return p.one(item)",
        "def work(item):\n    import package.one\n    return package.one.one(item)",
        "def work(item):\n    import package.one as p\n    return p.one(item)",
        "def work(item):\n    from package import one\n    return one.one(item)",
        "def work(item):\n    from package.one import one\n    import package.deep.three\n    return one(item)",
    ],
)
def test_a_package_whose_modules_import_each_other(source: str, bundle: Any) -> None:
    """A package travels with those of its modules that are used, in circles and by dots too."""
    module = bundle(source, PACKAGE)
    assert elsewhere(module.work, 10) == [10 + 4 + 4]


def test_a_folder_without_init(bundle: Any) -> None:
    """A package that is no more than a folder travels too."""
    sources = {
        "package/one": "from .deep import two\ndef one(item):\n    from . import deep\n    return deep.two.add(item)\n",
        "package/deep/two": "def add(item): return item + 1\n",
    }
    module = bundle("import package.one\ndef work(item): return package.one.one(item)", sources)
    assert elsewhere(module.work, 1) == [2]


def test_state_of_a_module_is_one(bundle: Any) -> None:
    """What a function of a module changes there, others see: by name, by the module, and imported inside."""
    module = bundle(
        main="""
            import helpers
            from helpers import count
            def work(item):
                count()
                helpers.count()
                from helpers import total
                return helpers.total, total
            """,
        helpers="total = 0\ndef count():\n    global total\n    total += 1\n",
    )
    assert elsewhere(module.work, 0, 0) == [(2, 2), (4, 4)]
    assert sys.modules["helpers"].total == 0


def test_classes_come_back_as_themselves(bundle: Any) -> None:
    """Objects and exceptions of a module's classes are of these very classes when they return."""
    module = bundle(
        main="""
            import helpers
            from helpers import Point
            def work(item):
                return [helpers.Point(item), Point(item), helpers.Colour.RED]
            """,
        helpers="""
            import enum
            from dataclasses import dataclass
            @dataclass
            class Point:
                x: int
            class Colour(enum.Enum):
                RED = 1
            """,
    )
    helpers = sys.modules["helpers"]
    (found,) = elsewhere(module.work, 3)
    assert found == [helpers.Point(3), helpers.Point(3), helpers.Colour.RED]


def test_two_versions_side_by_side(bundle: Any, tmp_path: Path) -> None:
    """Two functions that know two versions of a module run in one process without harm to each other."""
    module = bundle(
        main="def work(item):\n    import helpers\n    return helpers.version()", helpers="def version(): return 1\n"
    )
    pickles = []
    for version in (1, 2):
        (tmp_path / "helpers.py").write_text(f"def version(): return {version} + 0\n")
        sys.modules.pop("helpers", None)
        importlib.invalidate_caches()
        with sent_by_value(modules_by_value([module.work])), dependencies():
            pickles.append(dumps(module.work))
        for file in tmp_path.glob("__pycache__/helpers*"):
            file.unlink()
    del sys.modules["helpers"]
    first, second = map(pickle.loads, pickles)
    assert [first(0), second(0), first(0)] == [1, 2, 1]
    assert "helpers" not in sys.modules


def test_what_cannot_travel_is_named_if_it_is_needed(bundle: Any) -> None:
    """A lock of a module is named by its path where the function needs it, and left behind where it doesn't."""
    module = bundle(
        main="""
            import helpers
            def needs(item): return helpers.guarded(item)
            def names(item): return helpers.LOCK
            def inside(item):
                import helpers as h
                return h.guarded(item)
            def does_not(item): return helpers.plain(item)
            """,
        helpers="""
            import threading
            LOCK = threading.Lock()
            def guarded(item):
                with LOCK:
                    return item
            def plain(item): return item
            """,
    )
    paths = {
        "needs": "needs → global 'helpers' → attribute 'guarded' → global 'LOCK'",
        "names": "names → global 'helpers' → attribute 'LOCK'",
        "inside": "inside → import helpers → attribute 'guarded' → global 'LOCK'",
    }
    for name, path in paths.items():
        with dependencies(), pytest.raises(NotPicklableError) as caught:
            check_function(getattr(module, name), {})
        assert [culprit.path for culprit in caught.value.culprits] == [path]
    assert elsewhere(module.does_not, 5) == [5]


def test_an_attribute_that_was_left_behind(bundle: Any) -> None:
    """What no code names and can't travel is missed with a sentence that says what to do."""
    module = bundle(
        main="""
            import helpers
            def work(item):
                try:
                    return getattr(helpers, "LO" + "CK")
                except AttributeError as error:
                    return str(error)
            """,
        helpers="import threading\nLOCK = threading.Lock()\n",
    )
    (said,) = elsewhere(module.work, 0)
    assert "was sent to this worker without 'LOCK'" in said
    assert "from helpers import LOCK" in said


def test_nothing_stays_registered(bundle: Any) -> None:
    """After the block the module goes by reference again, as local workers have it."""
    module = bundle(main="import helpers\ndef work(item): return helpers.f(item)", helpers="def f(x): return x\n")
    with dependencies():
        check_function(module.work, {})
    helpers = sys.modules["helpers"]
    assert pickle.loads(dumps(helpers.f)) is helpers.f


def test_what_is_installed_is_noted(bundle: Any) -> None:
    """Modules of installed packages go by reference; the run knows them, and who needs which."""
    module = bundle(
        main="""
            import json, numpy as np
            import helpers
            def work(item):
                import pandas
                try:
                    import hypothesis
                except ImportError:
                    hypothesis = None
                import no_such_module_anywhere
                return np.asarray(item), json.dumps(item), helpers.Table
            """,
        helpers="""
            class Table:
                def to_text(self):
                    from tqdm import tqdm
                    return tqdm
            """,
    )
    with dependencies() as found:
        check_function(module.work, {})
    assert found.needed == {"numpy": "", "pandas": "work"}
    assert found.perhaps == {"tqdm": "Table.to_text"}


def test_own_module_that_fails_here_is_left_to_the_item(bundle: Any) -> None:
    """A module that can't be imported in the task either is no reason to refuse the function."""
    module = bundle(
        main="""
            def work(item):
                try:
                    import helpers
                except ImportError:
                    return "none"
            """,
        helpers="raise ImportError('not here')\n",
    )
    assert elsewhere(module.work, 0) == ["none"]


OPTIONAL = """
def function():
    try:
        import a
    except ImportError:
        a = None
    try:
        import b
    except (KeyError, ModuleNotFoundError):
        b = None
    try:
        import c
    except:
        c = None
    with suppress(ImportError):
        import d
    try:
        import e
    except KeyError:
        e = None
    try:
        import f
    finally:
        print(a, b, c, d, e)
    import g.h
    try:
        import i
    except ImportError:
        import j
    try:
        import k
    except KeyError:
        import l
    import m
"""


def test_optional_imports() -> None:
    """Only an import whose failure is expected is optional, and what is imported instead."""
    found = {each.name: each.optional for each in imports_of(compile(OPTIONAL, "optional", "exec"))}
    optional = {*"abcdij"}
    assert found == {name: name in optional for name in (*"abcdefijklm", "g.h")}
    plain = compile("def f():\n with open('x'):\n  import i\n", "plain", "exec")
    assert [each.optional for each in imports_of(plain)] == [False]


def test_local_run_that_a_cluster_draws_from() -> None:
    """What a run of the process's own pickles is no business of the run on a cluster that draws its items from it."""

    @parallel_task(n_jobs=2, backend="loky")
    def local(item: int) -> int:
        import numpy as np

        return int(np.int64(item))

    with dependencies() as found:
        assert local(range(4)) == [0, 1, 2, 3]
    assert not found.needed
    assert not found.perhaps
