"""A forked worker is the task: what it computes is what a plain loop gives, for a DAG file loaded as executors do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.unit.helpers import run_python

FILE = Path(__file__).with_name("dag_file.py")


def load(file: Path) -> str:
    """Return code that loads a DAG file as *module*, under the name that it has in an executor's task."""
    name = f"unusual_prefix_{hashlib.sha1(str(file).encode(), usedforsecurity=False).hexdigest()}_{file.stem}"
    return f"""
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader({name!r}, {str(file)!r})
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
sys.modules[loader.name] = module
loader.exec_module(module)
from airflow_joblib import parallel_task
"""


@pytest.mark.parametrize(("file", "least"), [("dag_file.py", 40), ("dag_file_state.py", 40)])
def test_every_function_of_a_dag_file(file: str, least: int) -> None:
    """Each function gives in a fan-out what it gives in a loop, without exception."""
    # In one fan-out, since to fork is most of what one of each function would take.
    code = f"""{load(FILE.with_name(file))}
def twice(name):
    return [functions[name](1), functions[name](2)]
functions = {{function.__name__: function for function in module.ALL}}
want = {{name: twice(name) for name in functions}}
run = parallel_task(n_jobs=2, backend="auto", batch_size=1, max_failures=len(functions))(twice).run([*functions])
got = dict(zip(functions, run.results))
wrong = {{name: [repr(got[name])[:200], repr(want[name])[:200]] for name in functions if got[name] != want[name]}}
print(json.dumps([len(module.ALL), wrong]))
"""
    number, wrong = json.loads(run_python(code).stdout)
    assert wrong == {}
    assert number >= least


#: What an item returns, or is, and how it is known to be itself again.
COMES_BACK = {
    "module.Base": "got is module.Base",
    "module.UNSET": "got is module.UNSET",
    "module.MISSING": "got is module.MISSING",
    "module.Planet.WORLD": "got is module.Planet.EARTH",
    "module.double": "got is module.double",
    "module.wrapped": "got is module.wrapped",
    "module.wrapped.__wrapped__": "got is module.wrapped.__wrapped__",
    "module.cached": "got is module.cached",
    "module.Base(3)": "type(got) is module.Base and got.id == 3",
    "module.Point(1, 2)": "type(got) is module.Point",
    "module": "got is module",
    "module.Tree.still": "got is module.Tree.still",
    "local()": "type(got) is local",
    "local": "got is local",
    "lambda: module.double(held)": "got() == 10 and got.__globals__ is globals()",
    "[module.UNSET, {'k': module.Base}]": "got[0] is module.UNSET and got[1]['k'] is module.Base",
    "module.decimal.Decimal('1.5')": "got == module.decimal.Decimal('1.5')",
}
#: Both ways of a value, for as long as it is itself; run one after another by one process, whose start takes longest.
BOTH_WAYS = """
def give(n):
    local  # so that the class is known before the fork
    return VALUE
def draw():
    yield from range(20)
    yield VALUE
got = parallel_task(n_jobs=2, backend="auto", batch_size=1)(give).map([1, 2])[1]
found.append(["VALUE", "result", COMES_BACK])
if "local" not in "VALUE":
    (got,) = parallel_task(n_jobs=2, backend="auto", batch_size=1)(take).map(draw())[20]
    found.append(["VALUE", "item", COMES_BACK])
"""


def test_results_and_lazy_items_keep_their_identity() -> None:
    """What both processes have travels by name, as a result and as an item that is drawn late: it is itself again."""
    each = [BOTH_WAYS.replace("VALUE", value).replace("COMES_BACK", how) for value, how in COMES_BACK.items()]
    code = f"""{load(FILE)}
held = 5
def make():
    class Local: ...
    return Local
local = make()
def take(item):
    return item if isinstance(item, int) else [item]
found = []
{"".join(each)}
print(json.dumps(found))
"""
    found = json.loads(run_python(code).stdout)
    assert len(found) == 2 * len(COMES_BACK) - sum("local" in value for value in COMES_BACK)
    assert [each for each in found if not each[2]] == []
