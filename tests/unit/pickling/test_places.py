"""Code that travels by value still says which file and line it is from, whatever cloudpickle keeps of that."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.unit.helpers import run_python

if TYPE_CHECKING:
    from pathlib import Path

DAG = """
import inspect, logging, traceback, warnings
from functools import cached_property

def fail():
    raise ValueError("on line 6")

class Parser:
    def method(self):
        fail()
    @classmethod
    def made(cls):
        cls().method()
    @staticmethod
    def static():
        Parser.made()
    @property
    def parsed(self):
        return [Parser.static() for _ in "1"]
    @cached_property
    def cached(self):
        return self.parsed

def frames(item):
    def inner():
        return (lambda: {n: Parser().cached for n in "1"})()
    try:
        inner()
    except ValueError as error:
        found = traceback.extract_tb(error.__traceback__)
        return {(frame.filename == __file__, frame.line != "") for frame in found}, len(found), found[-1].line

class Keep(logging.Handler):
    def emit(self, record):
        self.place = record.pathname == __file__, record.lineno, record.funcName

def logged(item):
    logger = logging.getLogger("places")
    logger.addHandler(keep := Keep())
    (lambda: logger.warning("x"))()
    return keep.place

def warned(item):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("x")
    return caught[0].filename == __file__, caught[0].lineno

def sources(item):
    def inner():
        return 1
    each = fail, inner, Parser.method, Parser.made, Parser.static, Parser.parsed.fget, (lambda: 3)
    return [inspect.getsource(one).strip().splitlines()[-1].strip() for one in each]

def everything(item):
    return [each(item) for each in (frames, logged, warned, sources)]
"""

RUN = """
import importlib.machinery, importlib.util, sys
from types import CodeType
from airflow_joblib import parallel_task
from airflow_joblib.pickling.pickler import Pickler

name, path, nameless = "unusual_prefix_0123abcd_places", FILE, NAMELESS
spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, path))
dag = sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dag)

def without_name(code, reduce=Pickler.dispatch_table[CodeType]):
    make, args = reduce(code)
    assert args[10] in {code.co_filename, "<dynamic-code>"}
    return make, (*args[:10], "<dynamic-code>", *args[11:])

if nameless:
    Pickler.dispatch_table[CodeType] = without_name
wanted = dag.everything(1)
# One batch, and with a limit, takes one worker: what it takes to start one is most of this.
got = parallel_task(n_jobs=2, backend="loky", batch_size=2, item_timeout=100)(dag.everything).map([1, 2])
assert got == [wanted, wanted], (got, wanted)
for each in wanted:
    print(each)
"""


@pytest.mark.slow
@pytest.mark.parametrize("nameless", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_places(tmp_path: Path, *, nameless: bool) -> None:
    """Tracebacks, log records, warnings and sources name the DAG file and its line in workers as in the task."""
    path = tmp_path / "places.py"
    path.write_text(textwrap.dedent(DAG))
    out = run_python(RUN.replace("FILE", repr(str(path))).replace("NAMELESS", str(nameless))).stdout.splitlines()
    assert "False, False" not in out[0]
    assert out[0].endswith("""'raise ValueError("on line 6")')""")
    assert out[1].startswith("(True, ")
    assert out[2].startswith("(True, ")
    assert out[3].count("return 1") == 1
