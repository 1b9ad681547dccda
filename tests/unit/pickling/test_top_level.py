"""What fresh workers do not have of a DAG file: the rows of the table in the docs, each with its way out."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.helpers import PROCESSES, run_python, task

PAGE = Path(__file__).parents[3] / "docs/explanation/by-value.md"
SOURCE = """
import colorsys, decimal, logging, operator, pkgutil, socket, sqlite3, threading, zlib


class Base: ...
class Derived(Base): ...
class Kind: ...


LOCK = threading.Lock()
CONFIG = {"rate": 7}
HASHED, CHECKED = hash("a text"), zlib.crc32(b"a text")


def parse(n):
    return n


def set_up():
    colorsys.RATE = 7
    colorsys.rgb_to_yiq = max
    pkgutil.iter_importer_modules.register(Kind, lambda finder, prefix="": iter(["of the file"]))
    sqlite3.register_adapter(Kind, lambda kind: "adapted")
    decimal.getcontext().prec = 40
    socket.setdefaulttimeout(11)
    logging.getLogger("of_the_file").setLevel(37)


set_up()


def module(n):
    return getattr(colorsys, "RATE", None)


def patched(n):
    return colorsys.rgb_to_yiq(3, 1, 2) == 3


def dispatched(n):
    return list(pkgutil.iter_importer_modules(Kind()))


def registered(n):
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("select ?", [Kind()]).fetchone()[0]
    except sqlite3.ProgrammingError:
        return None
    finally:
        connection.close()


def precision(n):
    return decimal.getcontext().prec


def process(n):
    return socket.getdefaulttimeout()


def level(n):
    return logging.getLogger("of_the_file").level


def subclasses(n):
    return [each.__name__ for each in operator.methodcaller("".join(["__sub", "classes__"]))(Base)]


def subclasses_named(n):
    Derived
    return subclasses(n)


def looked_up(n):
    try:
        return pkgutil.resolve_name(__name__ + ":" + "".join(["pa", "rse"]))(n)
    except AttributeError:
        return None


def looked_up_named(n):
    parse
    return looked_up(n)


def locked(n):
    return "LOCK" in globals()


def locked_given(n, lock):
    with lock[0]:
        return True


def is_same(item):
    return item is CONFIG


def is_same_by_name(item):
    return globals()[item] is CONFIG


def hashed(n):
    return hash("a text") == HASHED


def checked(n):
    return zlib.crc32(b"a text") == CHECKED


def state():
    return [each(1) for each in (module, patched, dispatched, registered, precision, process, level)]


def rows(item):
    return [*state(), subclasses(1), looked_up(1), hashed(1), is_same(item)]


def rows_with_ways_out(n, ready):
    return [*state(), subclasses_named(1), looked_up_named(1), checked(1)]


def by_globals_with_ways_out(name, lock):
    return [is_same_by_name(name), locked_given(1, lock)]
"""
RUN = """
import importlib.machinery, importlib.util, json, sys, threading
loader = importlib.machinery.SourceFileLoader("unusual_prefix_1f_rows", FILE)
dag = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
sys.modules[loader.name] = dag
loader.exec_module(dag)
from airflow_joblib import parallel_task


def run(function, backend, item, **options):
    # One batch, and with a limit, takes one worker: what it takes to start one is most of this.
    work = parallel_task(n_jobs=2, backend=backend, batch_size=2, item_timeout=100, **options)(function)
    return work.map([item] * 2)[0]


names = ["module", "patched", "dispatched", "registered", "precision", "process", "level",
         "subclasses", "looked_up", "hashed", "is_same", "locked"]
# What calls globals() is in a run of its own, with which all names of the file travel.
results = [[*dag.rows(dag.CONFIG), dag.locked(1)]]
for backend in ("multiprocessing", "loky"):
    results.append([*run(dag.rows, backend, dag.CONFIG), run(dag.locked, backend, 1)])
results.append([*run(dag.rows_with_ways_out, "loky", 1, per_worker={"ready": dag.set_up}),
                *run(dag.by_globals_with_ways_out, "loky", "CONFIG", per_worker={"lock": lambda: [threading.Lock()]})])
print(json.dumps(dict(zip(names, zip(*results, strict=True), strict=True))))
"""
#: A row of the table by its first words: the function, what it gives in the task, and in a fresh worker.
ROWS: dict[str, tuple[str, Any, Any]] = {
    "an attribute set in another module": ("module", 7, None),
    "a method or function of a library replaced": ("patched", True, False),
    "a function registered with a `singledispatch` of another module": ("dispatched", ["of the file"], []),
    "an entry in a library's registry": ("registered", "adapted", None),
    "the decimal context": ("precision", 40, 28),
    "an option of the process": ("process", 11, None),
    "a logger's level or handlers": ("level", 37, 0),
    "subclasses for which another module asks": ("subclasses", ["Derived"], []),
    "a global of the file that another module looks up": ("looked_up", 1, None),
    "a global that can't travel": ("locked", True, False),
    "an object of the file that is an item": ("is_same", True, False),
    "the `hash()` of a text": ("hashed", True, False),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what each function gives: in the task, in forked workers, in fresh ones, and in these by the way out."""
    file = tmp_path_factory.mktemp("dag") / "rows.py"
    file.write_text(SOURCE)
    return json.loads(run_python(RUN.replace("FILE", repr(str(file)))).stdout)


def documented() -> list[list[str]]:
    """Return the cells of the table."""
    text = PAGE.read_text().partition("## What differs in fresh workers")[2].partition("\n## ")[0]
    rows = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return rows[1:]


def test_table() -> None:
    """Each row of the docs' table is tested, and has a way out; what is tested is in the table."""
    rows = documented()
    assert len(rows) == len(ROWS)
    for (what, fresh, out), known in zip(rows, ROWS, strict=True):
        assert what.startswith(known)
        assert fresh
        assert out


@pytest.mark.parametrize("row", ROWS)
def test_what_differs(row: str, found: Any) -> None:
    """What a row names is missing in fresh workers, not in forked ones, and its way out brings it there."""
    name, here, fresh = ROWS[row]
    assert found[name] == [here, here, fresh, here]


@pytest.mark.parametrize("backend", PROCESSES)
def test_short_timeout_of_sockets(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A default timeout of sockets that is shorter than an item ends no worker that waits."""

    def wait(item: int) -> int:
        time.sleep(item)
        return item

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.2)
    try:
        results = task(wait, backend=backend, batch_size=1).map([1, 0, 0, 0])
    finally:
        socket.setdefaulttimeout(before)
    assert results == [1, 0, 0, 0]
    assert "Timeout" not in capfd.readouterr().err
